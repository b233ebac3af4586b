"""Files that commands write: refused before the work, whole after it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dqnlab.types import UserError
from scripts import (
    benchmark,
    evaluate,
    export,
    inspect_net,
    outputs,
    plot_runs,
    report,
    run_suite,
    soak,
    startup,
)

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "absent-run"  # no command gets so far as to look for it
COMMANDS = {
    "evaluate --json": (evaluate.main, [str(RUN), "--json"], "x.json"),
    "evaluate --video": (evaluate.main, [str(RUN), "--video"], "x.mp4"),
    "plot_runs --out": (plot_runs.main, [str(RUN), "--out"], "x.png"),
    "plot_runs --profiles": (plot_runs.main, [str(RUN), "--profiles"], "x.svg"),
    "plot_runs --table": (plot_runs.main, [str(RUN), "--table"], "x.csv"),
    "report --out": (report.main, [str(RUN), "--out"], "x.html"),
    "export --out": (export.main, [str(RUN), "--out"], "x.zip"),
    "soak --out": (soak.main, ["--out"], "x.json"),
    "benchmark --json": (benchmark.main, ["--json"], "x.json"),
    "benchmark --plot": (benchmark.main, ["--sweep", "games", "--plot"], "x.png"),
}
WITH_SUFFIX = [name for name in COMMANDS if "json" not in name and "soak" not in name]
FOLDERS = {
    "inspect_net --out": (inspect_net.main, [str(ROOT), "--out"]),
    "run_suite --out": (run_suite.main, ["--games", "catch", "--out"]),
    "benchmark --profile": (benchmark.main, ["--profile"]),
}


@pytest.fixture(autouse=True)
def nothing_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Fail where a command begins its work: when it chooses a device or starts another process."""

    def begin(*args: object, **options: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(startup, "select_device", begin)
    monkeypatch.setattr(subprocess, "Popen", begin)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(name: str, tmp_path: Path):
    main, args, file = COMMANDS[name]
    flag = name.split()[1]
    (tmp_path / "folder" / file).mkdir(parents=True)
    (tmp_path / "file").write_text("kept")
    for path, says in (
        (tmp_path / "folder" / file, "a folder is there; name a file"),
        (tmp_path / "file" / file, "it cannot be written: "),
        (Path("/proc") / file, "it cannot be written: "),
        (Path("/dev/full").with_name(f"{'n' * 252}{Path(file).suffix}"), "it cannot be written: "),
    ):
        with pytest.raises(UserError, match=f"^{flag} is {re.escape(str(path))}.*{says}") as error:
            main([*args, str(path)])
        assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", WITH_SUFFIX)
def test_another_suffix_is_refused_before_the_work(name: str, tmp_path: Path):
    main, args, file = COMMANDS[name]
    flag, suffix = name.split()[1], Path(file).suffix
    with pytest.raises(UserError, match=rf"{flag} is \S+x\.doc; it must end in .*"):
        main([*args, str(tmp_path / "x.doc")])
    with (
        pytest.raises(AssertionError, match="the work began")
        if main
        in (
            export.main,
            report.main,
            evaluate.main,
            benchmark.main,
        )
        else pytest.raises(UserError, match="absent-run")
    ):
        main([*args, str(tmp_path / "new" / "folders" / f"x{suffix.upper()}")])
    assert list((tmp_path / "new" / "folders").iterdir()) == []


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(name: str, tmp_path: Path):
    main, args = FOLDERS[name]
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/folder")):
        with pytest.raises(UserError, match=f"^{name.split()[1]} is {path}"):
            main([*args, str(path)])
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In a process of its own: a limit on the size of files acts as a disk that takes no more."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from scripts import outputs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "from dqnlab.types import UserError\n"
        "try: outputs.check({'--out': Path(sys.argv[1])})\n"
        "except UserError as error: print(error)"
    )
    path = tmp_path / "x.json"
    monkeypatch.undo()  # this one does start a process
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"--out is {path}: it cannot be written: "), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_outputs_are_two_files_and_a_link_stays_a_link(tmp_path: Path):
    file, link = tmp_path / "a.json", tmp_path / "b.json"
    link.symlink_to(file)
    with pytest.raises(UserError, match=r"--json and --plot are both .*b\.json"):
        outputs.check({"--json": file, "--plot": link})
    outputs.check({"--json": link})
    outputs.write(link, b"{}")
    assert link.is_symlink()
    assert file.read_bytes() == b"{}"
    with pytest.raises(UserError, match="/dev/null: that is no regular file"):
        outputs.check({"--json": Path("/dev/null")})


def test_a_run_folder_is_refused_before_the_data_are_loaded_and_not_made(tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.json").write_text("{}")
    for name in ("file", "file/run", "full"):
        with pytest.raises(UserError, match=f"^--run-dir is {tmp_path / name}"):
            outputs.check_free("--run-dir", tmp_path / name)
    outputs.check_free("--run-dir", tmp_path / "a" / "b")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "full"]
