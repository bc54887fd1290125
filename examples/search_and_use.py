"""`python examples/search_and_use.py [FOLDER]` searches a network, uses it, and goes on training it."""

import sys
from pathlib import Path

import torch

import qnas

FOUR = ("....##..", "...##...", "..##....", ".##..##.", ".######.", "....##..", "....##..", "....##..")


def main(folder: Path) -> None:
    """Search with settings so small that it takes seconds; the same call again reads what it has found."""
    torch.set_num_threads(1)
    run = qnas.search("w4a4", max_params=20_000, data="digits", trials=12, top=2, steps=36, out=folder / "run")
    for row in run.rows:
        print(
            f"{row['key']}: {row['params']:6,} parameters, predicted {row['score']:.1f} %, pick: {row['pick'] or '-'}"
        )

    winner = run.winner  # a torch.nn.Module; its task says how images are prepared
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in (winner.task.mean, winner.task.deviation))
    image = (torch.tensor([[[[16.0 * (pixel == "#") for pixel in line] for line in FOUR]]]) - mean) / deviation
    print("The image shows a", winner.task.names[winner(image).argmax().item()])

    loss = torch.nn.functional.cross_entropy(winner.train()(image), torch.tensor([4]))  # one step on images of your own
    loss.backward()
    torch.optim.Adam(winner.parameters(), lr=1e-3).step()
    print("Tuned and exported to", qnas.export(winner, out=folder / "tuned").folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/search-example"))
