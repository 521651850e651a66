"""``cytopipe atlas signatures | activity | validate | compare | serve``: from pseudobulk to answers.

Each verb takes a results root (the output directory of the atlas runs) and calls one function of the
domain; here is only parsing, telling and exit codes. Heavy modules are imported when a verb runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from cytopipe.atlas.settings import ActivitySettings
from cytopipe.commands.options import parameter_options, said
from cytopipe.commands.paths import PATH

__all__ = ["RESULT_COMMANDS", "activity", "compare", "serve", "signatures", "validate"]

_ROOT = click.argument("root", type=PATH)
_SOURCE = click.option(
    "--source", type=PATH, help="Signature table (.tsv), secactpy wheel, or folder of either."
)
_SIGNATURE = click.option("--signature", "-s", default="cytosig", show_default=True, help="Signature name.")
_CELL_TYPES = click.option("--cell-types", type=PATH, help="Your table of cell types instead of ours.")


@click.command()
@_SOURCE
@click.option("--table", type=PATH, help="Write the table of cell types that comes with cytopipe, to edit.")
def signatures(source: Path | None, table: Path | None) -> None:
    """List the known signatures, and where their tables were found."""
    from cytopipe.atlas.signatures import list_signatures

    for known, found in list_signatures(source):
        where = f"{found.kind}: {found}" if found else "not found"
        click.echo(f"{known.name:12}{known.title:12}lambda {known.regularization:<10g}{where}")
        click.echo(f"{'':12}{known.reference}")
    click.echo(
        "\nCytoSig and SecAct: pip install --no-deps secactpy==0.3.1, or --source WHEEL. Their tables are "
        "read, the package is never imported.\nLinCytoSig and your own: --source TABLE.tsv (genes x targets)."
    )
    if table is not None:
        from importlib.resources import files

        if table.exists():
            from cytopipe.errors import ParameterError

            raise ParameterError("is there already", where=str(table), next="Name another file.")
        table.write_bytes((files("cytopipe.atlas") / "cell_types.tsv").read_bytes())
        click.echo(f"\nwrote {table}")


@click.command()
@_ROOT
@click.option("--atlas", "atlases", multiple=True, help="Atlas; again for more [default: all].")
@click.option("--level", "levels", multiple=True, help="Level; again for more [default: all].")
@click.option("--signature", "-s", "names", multiple=True, default=("cytosig",), show_default=True)
@_SOURCE
@parameter_options(ActivitySettings, {"regularization": "--lambda", "n_permutations": "--permutations"})
@click.option("--workers", type=int, help="Threads [default: all cores]; results do not depend on it.")
@click.option("--skip-existing/--no-skip-existing", default=True, show_default=True)
def activity(root: Path, atlases, levels, names, source, workers, skip_existing, **chosen) -> None:
    """Infer activities for every pseudobulk file under ROOT."""
    from cytopipe.atlas.catalogue import Catalogue
    from cytopipe.commands.atlas_files import infer_activities
    from cytopipe.engine import available_cores
    from cytopipe.errors import InputError

    settings = ActivitySettings(**said(ActivitySettings, chosen))
    catalogue = Catalogue(_existing(root))
    wanted = list(atlases) or catalogue.atlases()
    if not wanted:
        raise InputError("there is no pseudobulk file", where=str(root), next="Run `cytopipe atlas` first.")
    for atlas in wanted:
        infer_activities(
            root,
            atlas,
            list(levels) or None,
            tuple(names),
            settings,
            source=source,
            workers=workers or available_cores(),
            skip_existing=skip_existing,
            report=click.echo,
        )


@click.command()
@_ROOT
@click.option("--atlas", "atlases", multiple=True, help="Atlas; again for more [default: all].")
@click.option("--level", "levels", multiple=True, help="Level; again for more [default: all].")
@_SIGNATURE
@_SOURCE
@_CELL_TYPES
@click.option("--biology", type=PATH, help="Your table of known biology instead of ours.")
@click.option("--figures/--no-figures", default=True, show_default=True)
def validate(root: Path, atlases, levels, signature, source, cell_types, biology, figures) -> None:
    """Compare activity with the expression of the targets' genes, and score its quality."""
    from cytopipe.atlas.catalogue import Catalogue
    from cytopipe.atlas.harmonise import read_harmonisation
    from cytopipe.atlas.quality import known_biology
    from cytopipe.atlas.signatures import load_signature
    from cytopipe.commands.atlas_files import validate_atlas

    catalogue = Catalogue(_existing(root))
    table = load_signature(signature, source)
    harmonisation = read_harmonisation(cell_types) if cell_types else None
    known = known_biology(biology) if biology else None
    for atlas in list(atlases) or catalogue.atlases():
        chosen = [catalogue.require_level(atlas, level) for level in levels] or catalogue.require_atlas(atlas)
        for level in chosen:
            found = validate_atlas(
                root, atlas, level, table, harmonisation=harmonisation, biology=known, draw=figures
            )
            rho = found.expression.targets["rho"]
            lacking = f"; without {', '.join(found.quality.missing)}" if found.quality.missing else ""
            click.echo(
                f"{atlas} {level}: quality {found.quality.score:.2f}, median rho {rho.median():.2f} over "
                f"{int(rho.notna().sum())} targets{lacking}"
            )


@click.command()
@_ROOT
@click.argument("atlas_levels", nargs=-1, required=True, metavar="ATLAS=LEVEL ATLAS=LEVEL...")
@_SIGNATURE
@click.option("--granularity", type=click.Choice(["coarse", "fine"]), default="coarse", show_default=True)
@_CELL_TYPES
@click.option("--figures/--no-figures", default=True, show_default=True)
def compare(root: Path, atlas_levels, signature, granularity, cell_types, figures) -> None:
    """Compare the activities of several atlases, each at the level that stands for it."""
    from cytopipe.atlas.catalogue import Catalogue
    from cytopipe.atlas.harmonise import read_harmonisation
    from cytopipe.commands.atlas_files import compare_atlases
    from cytopipe.errors import ParameterError

    levels = dict(one.partition("=")[::2] for one in atlas_levels)
    if not all(levels.values()) or len(levels) < len(atlas_levels):
        raise ParameterError(
            "atlases are named with their level, each once",
            expected="ATLAS=LEVEL, such as cima=L2",
            found=" ".join(atlas_levels),
        )
    found = compare_atlases(
        _existing(root),
        levels,
        signature,
        granularity=granularity,
        harmonisation=read_harmonisation(cell_types) if cell_types else None,
        draw=figures,
    )
    for row in found.comparison.pairs.itertuples():
        click.echo(
            f"{row.atlas_a} / {row.atlas_b}: r {row.pearson_r:.2f}, rho {row.spearman_rho:.2f} over "
            f"{row.n_types} types and {row.n_targets} targets"
        )
    for name, count in found.comparison.conserved["conservation"].value_counts().sort_index().items():
        click.echo(f"{name}: {count}")
    for one in found.types:
        if one.unmapped:
            click.echo(f"{one.atlas}: no place in the vocabulary for {', '.join(one.unmapped)}")
    folder = Catalogue(root).comparison(signature, granularity, "pairs.tsv").parent
    click.echo(f"{len(list(folder.glob(f'{signature}_{granularity}_*')))} files in {folder}")


@click.command()
@_ROOT
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=int, default=8787, show_default=True)
def serve(root: Path, host: str, port: int) -> None:
    """Serve results under ROOT over HTTP, read-only, on loopback."""
    from cytopipe.serve.atlas_api import serve as serve_results

    click.echo(f"http://{host}:{port}/ (stop with Ctrl-C)")
    serve_results(root, host=host, port=port)


def _existing(root: Path) -> Path:
    from cytopipe.errors import InputError

    if not root.is_dir():
        raise InputError(
            "there are no results", where=str(root), expected="the output directory of the atlas runs"
        )
    return root


RESULT_COMMANDS = (signatures, activity, validate, compare, serve)
"""For the group ``cytopipe atlas``, in the order of the work."""
