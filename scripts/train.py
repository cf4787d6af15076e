"""Train a small MLP on digits with plain JAX and optax, its labels guarded in the Grain pipeline.

    python scripts/train.py --data data/digits_faulty/1.0.0 --workdir runs/guarded --on-invalid drop
    python scripts/train.py --data data/digits_faulty/1.0.0 --workdir runs/unguarded --on-invalid off

Stopped at any point, the same command resumes from the last checkpoint of model and pipeline. ``--on-invalid off`` is
the loop as it was: ``tfds.data_source`` and ``.batch``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tensorflow_datasets as tfds
from absl import app
from absl import logging as absl_logging
from absl.flags import argparse_flags

from label_guard import LabelGuardError
from label_guard.grain import guard_labels, keyed, summary
from label_guard.jax import masked_mean
from label_guard.tfds import source

SIZES = (64, 64, 10)
OPTIMIZER = optax.adam(3e-3)
# Reading is cheap here: Grain's 16 threads with a buffer of 500 cost more than they save.
READ_OPTIONS = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)


def unguarded_batches(args: argparse.Namespace) -> grain.IterDataset:
    """The pipeline before the guard. A record without a label would stop ``batch``: it is left out, unreported."""
    records = tfds.builder_from_directory(args.data).as_data_source("train")
    dataset = grain.MapDataset.source(records).seed(args.seed).shuffle().repeat()
    dataset = dataset.filter(lambda record: record["label"] is not None)
    return dataset.to_iter_dataset(READ_OPTIONS).batch(args.batch_size, drop_remainder=True)


def guarded_batches(args: argparse.Namespace) -> grain.IterDataset:
    """The same pipeline with the guard in place of ``batch``."""
    records = keyed(source(args.data, "train"))
    dataset = grain.MapDataset.source(records).seed(args.seed).shuffle().repeat()
    return dataset.to_iter_dataset(READ_OPTIONS).pipe(
        guard_labels,
        args.schema,
        split="train",
        batch_size=args.batch_size,
        on_invalid=args.on_invalid,
        quarantine=args.quarantine or args.workdir / "quarantine",
    )


def init_params(seed: int) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(jax.random.key(seed), len(SIZES) - 1)
    layers = zip(keys, SIZES, SIZES[1:], strict=False)
    return [{"w": jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, "b": jnp.zeros(n)} for k, m, n in layers]


def logits_of(params: list[dict[str, jax.Array]], image: jax.Array) -> jax.Array:
    x = image.reshape(len(image), -1) / 255.0
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


@jax.jit
def train_step(state: Any, batch: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
    def loss_fn(params: Any) -> jax.Array:
        logits = logits_of(params, batch["image"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return masked_mean(losses, batch.get("label_valid"))  # without a mask: the mean

    loss, grads = jax.value_and_grad(loss_fn)(state["params"])
    updates, opt_state = OPTIMIZER.update(grads, state["opt_state"])
    return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}, loss


def accuracy(params: Any, data: Path) -> float:
    """Share of the test split that is classified rightly, in [0, 1]."""
    test = source(data, "test")
    records = [test[position] for position in range(len(test))]
    logits = logits_of(params, np.stack([record["image"] for record in records]))
    return float(np.mean(np.argmax(logits, -1) == np.stack([record["label"] for record in records])))


def to_device(batch: dict[str, Any]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(batch[name]) for name in ("image", "label", "label_valid") if name in batch}


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Run or resume the loop; what became of it."""
    dataset = unguarded_batches(args) if args.on_invalid == "off" else guarded_batches(args)
    if args.workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=args.workers))
    iterator = iter(dataset)
    params = init_params(args.seed)
    state = {"params": params, "opt_state": OPTIMIZER.init(params)}
    options = ocp.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=args.save_every)
    losses: dict[int, float] = {}
    with ocp.CheckpointManager((args.workdir / "checkpoints").resolve(), options=options) as checkpoints:
        start = checkpoints.latest_step() or 0
        if start:
            restore = {"model": ocp.args.StandardRestore(state), "data": grain.checkpoint.CheckpointRestore(iterator)}
            state = checkpoints.restore(start, args=ocp.args.Composite(**restore))["model"]
        for step in range(start + 1, args.steps + 1):
            state, loss = train_step(state, to_device(next(iterator)))
            losses[step] = float(loss)
            save = {"model": ocp.args.StandardSave(state), "data": grain.checkpoint.CheckpointSave(iterator)}
            checkpoints.save(step, args=ocp.args.Composite(**save), force=step == args.steps)
    counts = None if args.on_invalid == "off" else summary(iterator)
    iterator.close()
    return {"start": start, "losses": losses, "accuracy": accuracy(state["params"], args.data), "counts": counts}


def parse(argv: list[str]) -> argparse.Namespace:
    # Grain's workers read absl flags; this parser parses those, too, and they can be given on the command line.
    parser = argparse_flags.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared TFDS folder")
    parser.add_argument("--schema", type=Path, default=Path(__file__).parent.parent / "configs" / "digits.yaml")
    parser.add_argument("--on-invalid", choices=["raise", "drop", "mask", "report", "off"], default="drop")
    parser.add_argument("--quarantine", help="folder or URL; default: WORKDIR/quarantine")
    parser.add_argument("--workdir", type=Path, required=True, help="checkpoints and result.json")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv[1:])


def main(args: argparse.Namespace) -> str | None:
    """Trains and reports; a text is what went wrong, and exit code 1."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax logs every step of every checkpoint at INFO
    args.workdir.mkdir(parents=True, exist_ok=True)
    try:
        result = train(args)
    except LabelGuardError as error:
        return f"error: {error}"
    non_finite = sum(not math.isfinite(loss) for loss in result["losses"].values())
    print(f"steps {result['start'] + 1}..{args.steps}: {non_finite} of {len(result['losses'])} losses are not finite")
    print(f"test accuracy {result['accuracy']:.4f}")
    if result["counts"] is not None:
        print(result["counts"])
    losses = {step: repr(loss) for step, loss in result["losses"].items()}  # NaN is not JSON
    report = {**result, "losses": losses, "non_finite": non_finite, "counts": str(result["counts"] or "")}
    (args.workdir / "result.json").write_text(json.dumps(report, indent=1) + "\n")
    return None


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
