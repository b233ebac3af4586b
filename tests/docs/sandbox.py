"""A folder in which a page's blocks are run one after the other, as a reader would."""

import contextlib
import glob
import http.client
import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dqnlab.types import UserError
from tests.docs import outputs, small
from tests.docs.markdown import ROOT, Block, Command, commands

_SOURCES = ("agents", "dqnlab", "envs", "scripts")
_SERVERS = {"serve.py": "8000", "watch.py": "8001"}  # with the port that the docs print
_NEWEST = re.compile(r"runs/(?:[\w-]*\.\.\.|NAME)")


class Failed(Exception):
    """A block does not do what the page says."""


class Sandbox:
    """The current folder of a page: a copy of the sources, and the runs it takes for granted."""

    def __init__(self, folder: Path, runs: dict[str, Path], is_slow: bool):
        self.folder, self.is_slow = folder, is_slow
        self.is_edited = False  # a block changed the sources: what follows needs a new process
        self.printed = ""  # by the last Python block
        self.names: dict[str, Any] = {}
        self.servers: dict[str, subprocess.Popen[str]] = {}
        self.ports: dict[str, str] = {}
        for name in _SOURCES:
            shutil.copytree(ROOT / name, folder / name)
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / "runs").mkdir()
        for name, run in runs.items():
            shutil.copytree(run, folder / name)

    def run(self, block: Block) -> list[str]:
        """Run a block; the problems, each with its place."""
        steps = {"python": self._python, "diff": self._apply, "text": self._compare_text}
        if block.language in steps:
            try:
                steps[block.language](block)
            except Exception as error:  # any, as the block is a reader's program
                return [f"{block.where}: {type(error).__name__}: {error}"]
            return []
        if block.language not in ("bash", "console"):
            return [f"{block.where}: the language {block.language!r} is not known"]
        problems = []
        for command in commands(block):
            if not small.is_run(command) or (small.is_slow(command) and not self.is_slow):
                continue
            try:
                self._check(command)
            except Failed as error:
                problems.append(f"{command.where}: {command.text}: {error}")
        return problems

    def _check(self, command: Command) -> None:
        script, words = command.script(), command.words()
        args = [] if script is None else small.shortened(script, self._resolved(words[1:]))
        if script in _SERVERS:
            printed = self._serve(script, args)
        elif script is not None and not self.is_edited:
            printed = _call(script, args)
        else:
            printed = self._shell(command, script, args)
        is_refused = any(line.startswith("error: ") for line in command.output)
        if not is_refused and (error := re.search(r"(?m)^error: .*", printed)):
            raise Failed(error[0])
        if lines := outputs.missing(command.output, printed, script):
            raise Failed("not printed: {}\nprinted:\n{}".format("\n".join(lines), printed))

    def _resolved(self, words: list[str]) -> list[str]:
        """The words with globs expanded and `...` as the newest run that it fits."""
        found: list[str] = []
        for word in words:
            word = self._in_place(small.WORDS.get(word, word))
            paths = sorted(glob.glob(word, root_dir=self.folder)) if "*" in word else []
            found += paths or [word]
        return found

    def _in_place(self, text: str) -> str:
        for printed, port in self.ports.items():
            text = text.replace(f"127.0.0.1:{printed}", f"127.0.0.1:{port}")
        return _NEWEST.sub(self._newest, text)

    def _newest(self, match: re.Match[str]) -> str:
        begin = match[0].removesuffix("...").removesuffix("NAME")
        configs = self.folder.glob(f"{begin}*/**/config.json")
        paths = [p.parent for p in configs if p.parts[len(self.folder.parts) + 1] != "suite"]
        newest = max(paths, key=lambda path: path.stat().st_mtime)
        return newest.relative_to(self.folder).as_posix()

    def _python(self, block: Block) -> None:
        file = re.match(r"# ([\w/]+\.py)\n", block.text)
        if file is not None:
            (self.folder / file[1]).write_text(block.text)
            self.is_edited |= file[1].startswith(_SOURCES)
            return
        text = self._in_place(block.text)
        for printed, few in small.NUMBERS.items():
            text = text.replace(printed, few)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(text, block.where, "exec"), self.names)
        self.printed = said.getvalue()

    def _apply(self, block: Block) -> None:
        """Change a file as a diff says: `# path` first, then hunks with a blank line between."""
        head, _, hunks = block.text.partition("\n")
        path = self.folder / head.removeprefix("# ")
        for hunk in hunks.strip("\n").split("\n\n"):
            lines = hunk.split("\n")
            old = "\n".join(line[1:] for line in lines if line[0] in " -")
            new = "\n".join(line[1:] for line in lines if line[0] in " +")
            text = path.read_text()
            if text.count(old + "\n") != 1:
                raise Failed(f"{path.name} has not, or not once: {old}")
            path.write_text(text.replace(old + "\n", new + "\n"))
        self.is_edited = True

    def _compare_text(self, block: Block) -> None:
        """Compare a block of text with what the Python block before it printed."""
        if self.printed:
            if lines := outputs.missing(block.text.splitlines(), self.printed, None):
                raise Failed(f"not printed: {lines}; printed: {self.printed}")
            self.printed = ""

    def _shell(self, command: Command, script: str | None, args: list[str]) -> str:
        folder = self.folder
        if script is not None:
            argv = [sys.executable, f"scripts/{script}", *args]
        else:
            text = command.text
            if text.startswith("make "):
                text = text.replace("make", "make --dry-run", 1)
            if "<this repository>" in text:
                folder = self.folder / "elsewhere"
                subprocess.run(["git", "init", "--quiet", "--bare", folder / "origin"], check=True)
                text = text.replace("<this repository>", "origin")
            text = re.sub(r"^python ", f"{sys.executable} ", text)
            argv = ["bash", "-c", text]
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, timeout=600, env=_environment()
        )
        if done.returncode:
            raise Failed(f"exit code {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def _serve(self, script: str, args: list[str]) -> str:
        """Start a server, ask it once, and leave it running for the blocks that follow."""
        server = subprocess.Popen(
            [sys.executable, f"scripts/{script}", *args],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
        )
        self.servers[script] = server
        printed, address = "", None
        deadline = time.monotonic() + 120
        assert server.stdout is not None
        while not (address and ("health" in printed or "Ctrl-C" in printed)):
            line = server.stdout.readline()
            if not line or time.monotonic() > deadline:
                raise Failed(f"it did not start: {printed}")
            printed += line
            address = address or re.search(r"http://127\.0\.0\.1:(\d+)", line)
        self.ports[_SERVERS[script]] = address[1]
        path = "/health" if script == "serve.py" else "/"
        if (status := _status(int(address[1]), path)) != 200:
            raise Failed(f"{path} answers {status}")
        return printed

    def close(self) -> list[str]:
        """End the servers as Ctrl-C does; the problems of those that do not end well."""
        problems = []
        for script, server in self.servers.items():
            server.send_signal(signal.SIGINT)
            said, _ = server.communicate(timeout=60)
            if server.returncode not in (0, 130):
                problems.append(f"{script}: exit code {server.returncode} after Ctrl-C: {said}")
        return problems


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _call(script: str, args: list[str]) -> str:
    """Call the script's main in this process; what it printed, at last the error if it has one."""
    said = io.StringIO()
    module = importlib.import_module(f"scripts.{script.removesuffix('.py')}")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = module.main(args)
        except SystemExit as stop:
            code = stop.code
        except UserError as error:
            return f"{said.getvalue()}error: {error}"
    if code:
        raise Failed(f"exit code {code}: {said.getvalue()[-3000:]}")
    return said.getvalue()


def _environment() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
