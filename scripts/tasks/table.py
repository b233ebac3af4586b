"""All tasks: one row each."""

from envs import names
from scripts.tasks import (
    adding,
    autoencoder,
    char_rnn,
    digits_autoencoder,
    digits_lenet,
    digits_mlp,
    embeddings,
    glyphs,
    idx_files,
    mixture_density,
    perceptron,
    pong_state,
    sentence_score,
    siamese,
    tagger,
    translation,
    vae,
    which_game,
)
from scripts.tasks.task import Task

TASKS: dict[str, Task] = {
    "perceptron": perceptron.TASK,
    "digits-mlp": digits_mlp.TASK,
    "digits-lenet": digits_lenet.TASK,
    "char-rnn": char_rnn.TASK,
    "tagger": tagger.TASK,
    "translation": translation.TASK,
    "adding": adding.TASK,
    "embeddings": embeddings.TASK,
    "sequence-scorer": sentence_score.TASK,
    "digits-autoencoder": digits_autoencoder.TASK,
    "idx-files": idx_files.TASK,
    "glyphs": glyphs.TASK,
    "pong-state": pong_state.TASK,
    "which-game": which_game.TASK,
    "frame-autoencoder": autoencoder.TASK,
    "vae": vae.TASK,
    "cvae": vae.CONDITIONAL,
    "siamese": siamese.TASK,
    "mixture-density": mixture_density.TASK,
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
