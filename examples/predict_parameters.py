"""`python examples/predict_parameters.py` scores a network that no one has trained at five bit widths."""

import torch

import qnas


def main() -> None:
    """Draw a network that the hypernetwork never saw, predict its parameters, and score them on validation images."""
    torch.set_num_threads(1)
    network = next(qnas.sample("tiny", count=1, part="held_out", seed=7))
    for bits in ("fp32", "w8a8", "w4a8", "w4a4", "w2a2"):
        score = qnas.score(network, bits, data="digits")
        count = sum(tensor.numel() for tensor in qnas.predict(network, bits, ghn="digits").values())
        print(
            f"{bits:>5}: {score.top1:5.1f} % right with {count:,} predicted parameters and no training; "
            f"rounding alone costs {score.drop:.1f} points"
        )


if __name__ == "__main__":
    main()
