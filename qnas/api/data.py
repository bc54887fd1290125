"""Data sets: look at one before anything is trained on it."""

from io import BytesIO
from pathlib import Path

from qnas.api.arguments import chosen_data
from qnas.data.listing import list_images
from qnas.data.registry import Size, find_data, is_image_folder, sized
from qnas.data.survey import Survey, labelled_sheet
from qnas.data.survey import survey as look
from qnas.runs.files import write_bytes


def survey(data: str | Path = "auto", *, image: Size = "", sheet: str | Path = "") -> Survey:
    """What a data set holds: classes, counts, sizes, kinds, imbalance, repetitions, and what was left out.

    Args:
        data: see ``search``.
        image: see ``search``.
        sheet: PNG file for a contact sheet, the first images of every class as networks see them; empty for none.

    Returns:
        The survey; ``to_json`` gives plain values.

    Raises:
        QnasError: the data cannot be read.
    """
    known = chosen_data(data, image)
    found = find_data(known)
    if sheet:
        png = BytesIO()
        labelled_sheet(found).save(png, "png")
        write_bytes(Path(sheet), png.getvalue())
    parts = list_images(sized(known)[0]).parts.values() if is_image_folder(known) else ()
    return look(found, [path for entries in parts for path, _ in entries])
