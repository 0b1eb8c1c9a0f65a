"""The PDF of a document, by pdflatex."""

import os
import shutil
import subprocess
from pathlib import Path

PDF = "derivation.pdf"
MOST_TYPESETTING = 300  # seconds for a run of pdflatex


def check_pdflatex() -> None:
    if shutil.which("pdflatex") is None:
        raise FileNotFoundError("--pdf: needs pdflatex; on Debian, apt-get install texlive-latex-base")


def typeset(tex: str, place: Path) -> bytes:
    """The PDF of a LaTeX document, made in a folder that is gone after; the same bytes for the same document.

    Raises OSError where pdflatex is missing or refuses the document.
    """
    check_pdflatex()
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "derivation.tex"]
    place.mkdir()
    try:
        (place / "derivation.tex").write_text(tex, encoding="utf-8")
        for _ in range(3):  # the table of contents, its page numbers, the references
            run = subprocess.run(
                command,
                cwd=place,
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=MOST_TYPESETTING,
            )
            if run.returncode or not (place / PDF).is_file():
                reason = next((line for line in run.stdout.splitlines() if line.startswith("!")), "no reason given")
                raise OSError(f"--pdf: pdflatex failed: {reason}")
        return (place / PDF).read_bytes()
    except subprocess.TimeoutExpired:
        raise OSError(f"--pdf: pdflatex failed: not done within {MOST_TYPESETTING} seconds") from None
    finally:
        shutil.rmtree(place)
