"""From profiles to activities, validation and comparison, as files: what the plain commands do and
notebooks may call.

Every verb reads the files that stand under a results root, calls the domain, and puts what came out into the
archive, in the same formats and under the same names as the assets of a project do: one writer, the same
bytes. Activities that stand whole and were made from the same inputs with the same parameters are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cytopipe.atlas.catalogue import COMPARISON, VALIDATION, Catalogue
from cytopipe.atlas.harmonise import Granularity, Harmonisation, default_harmonisation
from cytopipe.atlas.inference import CODE_VERSION as INFERENCE_VERSION
from cytopipe.atlas.inference import infer_activity, overlap_of
from cytopipe.atlas.recipe import inference_recipe
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.atlas.signatures import Signature, load_signature
from cytopipe.atlas.validation_tables import CODE_VERSION as VALIDATION_VERSION
from cytopipe.atlas.validation_tables import AtlasValidation, CrossAtlasValidation, compare, validate
from cytopipe.commands.atlas_profiles import provenance_of
from cytopipe.defs.artifact import digest_of
from cytopipe.errors import DamagedError, StorageError
from cytopipe.provenance import sha256_bytes, sha256_file
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.h5ad import H5AD_IN_PARTS as H5AD
from cytopipe.storage.formats.h5ad import H5adFile
from cytopipe.storage.sets import owned

__all__ = ["compare_atlases", "infer_activities", "validate_atlas"]


# --------------------------------------------------------------------------- profiles -> activities


def infer_activities(
    root: str | Path,
    atlas: str,
    levels: list[str] | None = None,
    signatures: tuple[str, ...] = ("cytosig",),
    settings: ActivitySettings | None = None,
    *,
    source: str | Path | None = None,
    workers: int = 1,
    skip_existing: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Infer and publish the activity of every pseudobulk file of an atlas, resampled ones too.

    Parameters
    ----------
    root : path
        The results root.
    atlas : str
    levels : list of str, optional
        All, if left out.
    signatures : tuple of str
    settings : ActivitySettings, optional
    source : path, optional
        Where the signatures' tables lie.
    workers : int
        Threads; the result does not depend on it.
    skip_existing : bool
        Leave a file that was made from the same inputs, settings and code, as its manifest proves.
    report : callable, optional
        Told one line per file.

    Returns
    -------
    list of Path
        Every activity file that stands now, in order.
    """
    archive, catalogue, settings = Archive(root), Catalogue(Path(root)), settings or ActivitySettings()
    wanted = [catalogue.require_level(atlas, level) for level in levels or catalogue.require_atlas(atlas)]
    done = []
    for name in signatures:
        signature = load_signature(name, source)
        for level in wanted:
            for kind in ("", "_resampled"):
                profiles = _given(archive, catalogue.place(kind[1:] or "pseudobulk", atlas, level))
                if profiles is None:
                    continue
                place = catalogue.place(f"activity{kind}", atlas, level, name)
                chosen = settings.of_resamples() if kind else settings
                recipe = inference_recipe(name, chosen.for_signature(signature))
                provenance = provenance_of(
                    f"atlas/activity{kind}",
                    f"{profiles.key}.{name}",
                    INFERENCE_VERSION,
                    recipe,
                    {
                        f"atlas/{kind[1:] or 'pseudobulk'}": profiles.version,
                        "atlas/signatures": _digest_of_signature(signature),
                        f"atlas/inference{kind}": digest_of(recipe),
                    },
                )
                outcome = "unchanged"
                if not (skip_existing and archive.made_by(place, H5AD, provenance)):
                    value = infer_activity(profiles.value, signature, settings, workers=workers)
                    archive.put(place, H5AD, value, provenance)
                    overlap = overlap_of(value)
                    outcome = f"{overlap}, written"
                    if overlap.warning and not kind:
                        report(f"{place.path}: warning: {overlap.warning}")
                done.append(archive.root / place.path)
                report(f"{place.path}: {outcome}")
    return done


# --------------------------------------------------------------------------- activities -> validation


def validate_atlas(
    root: str | Path,
    atlas: str,
    level: str,
    signature: str | Signature,
    *,
    harmonisation: Harmonisation | None = None,
    biology: Mapping[str, tuple[str, ...]] | None = None,
    source: str | Path | None = None,
    settings: ActivitySettings | None = None,
    draw: bool = True,
) -> AtlasValidation:
    """Validate the activities of a level and publish what came out.

    Parameters
    ----------
    root : path
        The results root, with pseudobulk and activity files; ``_resampled`` and ``_samples`` files are used
        if they are there.
    atlas, level : str
    signature : str or Signature
    harmonisation, biology, settings
        As for :func:`cytopipe.atlas.validation_tables.validate`.
    source : path, optional
        Where the signature's table lies.
    draw : bool
        Also the scatter figures of the strongest targets.
    """
    archive, catalogue = Archive(root), Catalogue(Path(root))
    level = catalogue.require_level(atlas, level)
    signature = load_signature(signature, source) if isinstance(signature, str) else signature
    harmonisation = harmonisation or default_harmonisation()
    _require_activity(catalogue, atlas, level, signature.name)
    given = {
        name: _given(archive, catalogue.place(name, atlas, level, signature.name))
        for name in ("activity", "activity_resampled", "pseudobulk", "resampled", "sample_profiles")
    }
    values = {name: one.value if one else None for name, one in given.items()}
    found = validate(
        values["activity"],
        values["pseudobulk"],
        signature,
        atlas=atlas,
        level=level,
        resampled_activity=values["activity_resampled"],
        resampled=values["resampled"],
        samples=values["sample_profiles"],
        harmonisation=harmonisation,
        biology=biology,
        settings=settings,
    )
    recipe = inference_recipe(signature.name, (settings or ActivitySettings()).for_signature(signature))
    parameters = recipe | ({"biology": {k: list(v) for k, v in biology.items()}} if biology else {})
    provenance = provenance_of(
        "atlas/validation",
        f"{given['pseudobulk'].key}.{signature.name}",
        VALIDATION_VERSION,
        parameters,
        {
            **{f"atlas/{name}": one.version for name, one in given.items() if one},
            "atlas/signatures": _digest_of_signature(signature),
            "atlas/inference": digest_of(recipe),
            "atlas/cell_types": harmonisation.sha256,
        },
    )
    place = catalogue.place("validation", atlas, level, signature.name)
    archive.put(place, VALIDATION, found.files(draw=draw), provenance)
    return found


def compare_atlases(
    root: str | Path,
    levels: Mapping[str, str],
    signature: str,
    *,
    granularity: Granularity = "coarse",
    harmonisation: Harmonisation | None = None,
    draw: bool = True,
) -> CrossAtlasValidation:
    """Compare the activities of several atlases and publish what came out, beside other comparisons.

    Parameters
    ----------
    root : path
        The results root.
    levels : mapping of str to str
        The level that stands for each atlas; at least two atlases.
    signature : str
        Its name in the activity files.
    granularity, harmonisation
        As for :func:`cytopipe.atlas.validation_tables.compare`.
    draw : bool
        Also the heat map and the forest.
    """
    archive, catalogue = Archive(root), Catalogue(Path(root))
    harmonisation = harmonisation or default_harmonisation()
    activities, validated = {}, {}
    for atlas in sorted(levels):
        level = catalogue.require_level(atlas, levels[atlas])
        _require_activity(catalogue, atlas, level, signature)
        activities[atlas] = _given(archive, catalogue.place("activity", atlas, level, signature))
        place = catalogue.place("validation", atlas, level, signature)
        if (receipt := archive.receipt(place)) is not None:
            validated[atlas] = (archive.get(place, VALIDATION), receipt.version)
    found = compare(
        {atlas: one.value for atlas, one in activities.items()},
        signature,
        correlations={atlas: files["expression.tsv"] for atlas, (files, _) in validated.items()},
        granularity=granularity,
        harmonisation=harmonisation,
    )
    place = catalogue.place("cross_atlas")
    keys = {atlas: f"{one.key}.{signature}" for atlas, one in activities.items()}
    provenance = provenance_of(
        "atlas/cross_atlas",
        "",
        VALIDATION_VERSION,
        {"signature": signature, "granularity": granularity, "levels": dict(sorted(levels.items()))},
        {
            "atlas/activity": {keys[atlas]: one.version for atlas, one in activities.items()},
            "atlas/validation": {keys[atlas]: version for atlas, (_, version) in validated.items()},
            "atlas/cell_types": harmonisation.sha256,
        },
    )
    head = f"{signature}_{granularity}_"
    others = owned(archive.root / place.path, COMPARISON.owns(place.set_name))
    files: dict[str, object] = {name: None for name in others if not name.startswith(head)}
    files |= {f"{head}{end}": value for end, value in found.files(draw=draw).items()}
    archive.put(place, COMPARISON, files, provenance)
    return found


# --------------------------------------------------------------------------- what is given


@dataclass(frozen=True)
class _Given:
    """A file that stands, whoever wrote it.

    Parameters
    ----------
    value : H5adFile
    version : str
        Digest of its content.
    key : str
        ``atlas.level``, as the file names them.
    """

    value: H5adFile
    version: str

    @property
    def key(self) -> str:
        uns = self.value.uns
        return f"{uns.get('atlas', '')}.{uns.get('level', '')}"


def _given(archive: Archive, place: Place) -> _Given | None:
    """The file at a place, its bytes compared with its manifest if it has one; None where there is none."""
    path = archive.root / place.path
    if not path.is_file():
        return None
    try:
        receipt = archive.receipt(place)
    except DamagedError:
        raise
    except StorageError:  # a file that nobody published
        return _Given(H5adFile(path), sha256_file(path))
    return _Given(archive.get(place, H5AD), receipt.version)


def _require_activity(catalogue: Catalogue, atlas: str, level: str, signature: str) -> None:
    catalogue.require(
        catalogue.activity(atlas, level, signature),
        f"activity of {signature} for {atlas} {level}",
        catalogue.signatures(atlas, level),
    )


def _digest_of_signature(signature: Signature) -> str:
    return signature.sha256 or sha256_bytes(signature.weights.tobytes())
