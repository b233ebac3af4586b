"""A look at the command line before it is parsed: flags that decide what the others may be."""


def value(args: list[str], flag: str) -> str | None:
    """What follows `flag`, in either spelling (`--x y`, `--x=y`); None where it is absent."""
    for index, this in enumerate(args):
        if this == flag:
            return args[index + 1] if index + 1 < len(args) else ""
        if this.startswith(flag + "="):
            return this.removeprefix(flag + "=")
    return None


def without(args: list[str], flag: str) -> list[str]:
    """The rest of the command line."""
    rest, is_value = [], False
    for this in args:
        if not is_value and not this.startswith(flag + "=") and this != flag:
            rest.append(this)
        is_value = this == flag
    return rest
