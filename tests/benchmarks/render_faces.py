"""Print how many synthetic faces a second are sampled and drawn on one thread, for each style."""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from mtl_affect.faces import STYLES, labels, render, sample


def fastest(action: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some calls: other work on the machine only ever slows them."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="side of a picture in pixels")
    parser.add_argument("--count", type=int, default=1024, help="faces in a call")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Print one line for each style, and one for the labels alone."""
    options = parse()
    torch.set_num_threads(options.threads)
    indices = range(options.count)
    for name, style in STYLES.items():
        faces = sample(0, indices, style=style)
        sampled = fastest(partial(sample, 0, indices, style=style), options.repeats)
        drawn = fastest(partial(render, faces, options.size), options.repeats)
        print(
            f"{name:8} sample {options.count / sampled:9.0f}/s   render {options.count / drawn:7.0f}/s"
            f"   both {options.count / (sampled + drawn):7.0f}/s"
        )
    million = fastest(partial(labels, 0, range(1_000_000), style=STYLES["wild"]), 1)
    print(f"labels of a million faces: {million:.2f} s")


if __name__ == "__main__":
    main()
