"""Commands: the only place with side effects on the outside (parse, build, loop, print, write)."""
