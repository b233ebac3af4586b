"""All tasks: one row each."""

from envs import names
from scripts.tasks import adding, char_rnn, digits_lenet, digits_mlp, tagger, translation
from scripts.tasks.task import Task

TASKS: dict[str, Task] = {
    "digits-mlp": digits_mlp.TASK,
    "digits-lenet": digits_lenet.TASK,
    "char-rnn": char_rnn.TASK,
    "tagger": tagger.TASK,
    "translation": translation.TASK,
    "adding": adding.TASK,
}


def find(name: str) -> Task:
    """The task of that name; UserError with the nearest one where there is none."""
    if name not in TASKS:
        raise names.unknown("task", name, TASKS)
    return TASKS[name]


def listing() -> str:
    """A table of all tasks: name, what it is, stated figure, minutes on 2 cores."""
    width = max(map(len, TASKS))
    lines = [
        f"{name:{width}}  {task.about}\n{'':{width}}  {task.goal}; {task.minutes:g} minutes"
        for name, task in TASKS.items()
    ]
    return "\n".join(lines)
