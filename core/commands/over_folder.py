"""What every way to evaluate shares: one pass over a folder of photos, with its progress."""

import argparse

from accelerate import Accelerator
from torch.utils.data import DataLoader

from core.batches import labelled_batch
from core.checkpoints import Loaded
from core.commands.shared import Progress, say
from core.evaluate import Runner, evaluate
from core.images import eval_transform
from core.results import Evaluation
from core.training.data import match_folders, photos, split_root


def over_folder(args: argparse.Namespace, accelerator: Accelerator, loaded: Loaded, run: Runner) -> Evaluation:
    """All photos of `--data` whose classes the model knows, once.

    Args:
        args: With `data`, `batch` and `workers`.
        accelerator: Of this process.
        loaded: Whose classes and input size; on the accelerator's device.
        run: What to evaluate.

    Raises:
        InputError: If the folder is none, or holds no class that the model knows.
    """
    card = loaded.card
    root = split_root(args.data, "val")
    folders, left_out = match_folders(root, card.classes)
    dataset = photos(root, folders, eval_transform(card.geometry.img_size, card.normalisation))
    line = Progress()
    whole = args.batch * accelerator.num_processes
    loader = DataLoader(dataset, whole, num_workers=args.workers, collate_fn=labelled_batch)
    found = evaluate(
        run,
        accelerator.prepare(loader),
        dense_macs=loaded.dense_macs,
        patches=getattr(loaded.model, "patches", card.geometry.patches),
        left_out=left_out,
        gather=accelerator.gather_for_metrics,
        on_batch=lambda done: line.show(f"{done} of {len(dataset)} photos"),
    )
    line.clear()
    several = f"; {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    say(f"{len(dataset)} photos of {len(dataset.classes)} classes; {left_out} of other classes are left out{several}.")
    return found
