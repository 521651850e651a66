"""An entry of ``screen:`` in the project file: where the images of an optical pooled screen lie, and what is
to be made of them.

A screen (``crop``) has plates (``crop.1``), wells (``crop.1-A1``) and, in each acquisition, tiles
(``crop.1-A1|7``). Tiles are found on disk, or listed in a table, whenever the project file is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

from cytopipe.errors import InputError
from cytopipe.parameters import contradiction
from cytopipe.project.entry import Entry, FilePath, Problem, absent_file
from cytopipe.project.screen.exports import AggregateExport, OmeZarrExport, with_flat_keys
from cytopipe.project.screen.tiles import (
    Images,
    TileName,
    faults_of_pattern,
    find_images,
    natural,
    read_samples,
)
from cytopipe.screen.parameters import (
    AggregateSettings,
    CellCallSettings,
    CycleAlignmentSettings,
    FeatureSettings,
    FilterSettings,
    IlluminationSettings,
    LibrarySettings,
    MergeSettings,
    MontageSettings,
    PhenotypeAlignmentSettings,
    PhenotypeSegmentationSettings,
    QualitySettings,
    ReadModelSettings,
    ReadSettings,
    SegmentationSettings,
    StitchingSettings,
)
from cytopipe.screen.stages import STAGES, Stage

if TYPE_CHECKING:
    from cytopipe.screen.tree import Tree

__all__ = ["Acquisition", "Phenotype", "Screen", "ScreenPart", "Sequencing"]


def _channels(value: object) -> object:
    if isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value):
        if twice := sorted({one for one in value if value.count(one) > 1}):
            raise ValueError(f"expected each channel once; {twice[0]!r} stands twice")
        return value
    raise ValueError("expected a list of names, such as [DAPI, G, T, A, C]")


Channels = Annotated[list[str], BeforeValidator(_channels), Field(min_length=1, max_length=32)]


def _approved(value: object) -> object:
    names = value if isinstance(value, list) else [value]
    if any(not isinstance(one, str | int) or isinstance(one, bool) for one in names):
        raise ValueError("expected a list of plates and wells, such as [1, 2-A1], or all")
    return [str(one) for one in names]


Approved = Annotated[
    list[str],
    BeforeValidator(_approved),
    WithJsonSchema({"type": ["array", "string", "integer"], "items": {"type": ["string", "integer"]}}),
]


class Acquisition(BaseModel):
    """One imaging of the wells."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    images: str = ""
    """The files, as a pattern with {plate}, {well}, {tile}, {cycle} (phenotype: {round}), {channel} and *."""

    samples: FilePath | None = None
    """Instead of a pattern: a TSV or CSV table with sample_fp, plate, well, tile, and the cycle or round, if
    any."""

    channels: Channels
    """Names of the channels, in the order of the images."""

    pixel_size_um: Annotated[float, Field(gt=0, le=100)]
    """Side of a pixel (micrometres)."""

    positions: FilePath | None = None
    """TSV or CSV table of where the stage stood: plate, well, tile, x_pos, y_pos (micrometres)."""

    input_format: Literal["tiff", "omezarr"] = "tiff"
    """What later stages read: TIFFs, or OME-Zarr exports where they were made from these TIFFs. The results
    are the same; where only one of them is kept, that one is read."""

    omezarr: OmeZarrExport = Field(default_factory=OmeZarrExport)
    """Which images are exported as OME-Zarr, and how."""

    stitching: StitchingSettings = Field(default_factory=StitchingSettings)
    """How the tiles of a well are put together."""

    has_cycles: ClassVar[bool] = False
    repeated: ClassVar[str] = "round"
    name: ClassVar[str]

    _found: tuple[Path, Images] | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _as_the_reference_writes_it(cls, written: object) -> object:
        return with_flat_keys(written)

    @model_validator(mode="after")
    def _exports_its_own_images(self) -> Self:
        for one in self.omezarr.stages:
            if not STAGES[one].asset.startswith(f"screen/{self.name}/"):
                own = [name for name, stage in STAGES.items() if self._makes(stage)]
                raise contradiction(
                    f"{one} is no stage of {self.name}", "omezarr", expected=", ".join(own), found=one
                )
        return self

    def _makes(self, stage: Stage) -> bool:
        return stage.is_image and stage.asset.startswith(f"screen/{self.name}/")

    @model_validator(mode="after")
    def _one_way_to_name_files(self) -> Self:
        if self.images and self.samples is not None:
            raise contradiction("images and samples are both given", "images", expected="one of them")
        if self.images and (fault := next(faults_of_pattern(self.images, cycles=self.has_cycles), "")):
            raise contradiction("images is not usable", "images", expected=fault.removeprefix("expected "))
        return self

    def find(self, base: Path) -> Images:
        """The files, looked for once in the life of this value; none where neither images nor samples is
        given.
        """
        if not self.images and self.samples is None:
            return Images()
        if self._found is None or self._found[0] != base:
            found = (
                find_images(base, self.images)
                if self.samples is None
                else read_samples(base, self.samples, cycles=self.has_cycles)
            )
            self._found = (base, found)
        return self._found[1]

    def __getstate__(self) -> dict[Any, Any]:
        return _without_found(super().__getstate__())  # a worker is sent this; it looks for no files

    def problems(self, base: Path, *, may_lack: bool) -> Iterator[Problem]:
        """What is wrong with the files."""
        place = "images" if self.samples is None else "samples"
        found = self.find(base)
        for one in found.problems:
            yield Problem((place, *one.loc), one.what, one.expected, one.found, one.next)
        if not may_lack:
            yield from _lacking(found, place, self.repeated)
        if self.positions is not None:
            yield from absent_file(base, self.positions, ("positions",))


def _without_found(state: dict[Any, Any]) -> dict[Any, Any]:
    return {**state, "__pydantic_private__": {"_found": None}}


def _lacking(found: Images, place: str, repeated: str) -> Iterator[Problem]:
    lacking = list(found.lacking())
    if lacking:
        shown = [
            f"{plate}-{well}|{tile} lacks {', '.join(_image_told(repeated, *one) for one in some)}"
            for (plate, well, tile), some in lacking[:5]
        ]
        more = f"; and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        what = f"{len(lacking)} tile{'s have' if len(lacking) > 1 else ' has'} not all images of the others"
        yield Problem(
            (place,),
            what,
            found="; ".join(shown) + more,
            next="Find the files; or set missing_tiles: report, and go on without these tiles.",
        )


def _image_told(repeated: str, number: int, channel: str) -> str:
    return f"{f'{repeated} {number}' if number else 'channel'} {channel}".strip()


class Sequencing(Acquisition):
    """The imaging that reads barcodes: one base per cycle."""

    has_cycles: ClassVar[bool] = True
    repeated: ClassVar[str] = "cycle"
    name: ClassVar[str] = "sbs"

    dapi_cycle: Annotated[int, Field(ge=1, le=1000)] = 1
    """Cycle whose DAPI shows the nuclei that are segmented, counted from 1."""

    cyto_cycle: Annotated[int, Field(ge=1, le=1000)] = 1
    """Cycle whose bases show the cells that are segmented, counted from 1."""

    illumination: IlluminationSettings = Field(default_factory=IlluminationSettings)
    """How uneven light is measured and taken out."""

    alignment: CycleAlignmentSettings = Field(default_factory=CycleAlignmentSettings)
    """How the cycles of a tile are brought onto each other."""

    filter: FilterSettings = Field(default_factory=FilterSettings)
    """How spots are brought out."""

    segmentation: SegmentationSettings = Field(default_factory=SegmentationSettings)
    """How nuclei and cells are found."""

    reads: ReadSettings = Field(default_factory=ReadSettings)
    """How spots become reads."""

    read_model: ReadModelSettings = Field(default_factory=ReadModelSettings)
    """How the read model is learned and used (reads: method model)."""

    cell_calls: CellCallSettings = Field(default_factory=CellCallSettings)
    """How the reads of a cell become its barcodes."""


class Phenotype(Acquisition):
    """The imaging of the stained cells."""

    name: ClassVar[str] = "phenotype"

    rounds: Annotated[list[Annotated[int, Field(ge=0, le=9999)]], Field(max_length=100)] = Field(
        default_factory=list
    )
    """Rounds of staining in the order in which channels names their channels; none: ascending."""

    def problems(self, base: Path, *, may_lack: bool) -> Iterator[Problem]:
        """What is wrong with the files."""
        yield from super().problems(base, may_lack=may_lack)
        found = self.find(base).cycles
        if self.rounds and sorted(self.rounds) != list(found):
            shown = ", ".join(map(str, found)) or "none"
            yield Problem(("rounds",), "are not the rounds of the images, each once", shown, str(self.rounds))

    illumination: IlluminationSettings = Field(default_factory=IlluminationSettings)
    """How uneven light is measured and taken out."""

    alignment: PhenotypeAlignmentSettings = Field(default_factory=PhenotypeAlignmentSettings)
    """How channels are brought onto each other."""

    segmentation: PhenotypeSegmentationSettings = Field(default_factory=PhenotypeSegmentationSettings)
    """How nuclei and cells are found."""

    features: FeatureSettings = Field(default_factory=FeatureSettings)
    """What is measured of cells."""


class Screen(Entry):
    """An optical pooled screen: barcodes and features of cells that were imaged twice."""

    domain: ClassVar[str] = "screen"

    brieflow: FilePath | None = None
    """An output folder of Brieflow, whose images and tables are used as they lie, and never written; what it
    lacks is made from what it has, or from the images that an acquisition names."""

    sbs: Sequencing | None = None
    """Sequencing by synthesis: the images that read the barcodes."""

    phenotype: Phenotype | None = None
    """Images of the stained cells."""

    library: FilePath | None = None
    """TSV or CSV table of the barcodes, one row per guide: barcode (or prefix), gene, and further columns."""

    library_columns: LibrarySettings = Field(default_factory=LibrarySettings)
    """What the columns of the library mean."""

    merge: MergeSettings = Field(default_factory=MergeSettings)
    """How sequenced cells are found among the stained ones."""

    aggregate: AggregateExport = Field(default_factory=AggregateExport)
    """How features of cells become profiles of perturbations."""

    missing_tiles: Literal["refuse", "report"] = "refuse"
    """What happens to a well of which tiles are missing or cannot be made: refuse it, or make it without them
    and say which."""

    omezarr_export_default: bool = False
    """Whether images are exported as OME-Zarr where an acquisition does not say it."""

    quality: QualitySettings = Field(default_factory=QualitySettings)
    """What is told as a fault of images, reads and cells."""

    stop_after: Literal["sbs_qc"] | None = None
    """Hold cells of the phenotype, and all that is made from them, until a person has looked at the quality
    of the sequencing and approved it; none: nothing is held."""

    approved: Approved = Field(default_factory=list)
    """What a person has approved: plates (1), wells (1-A1), or all (stop_after)."""

    montage: MontageSettings = Field(default_factory=MontageSettings)
    """How pictures of single cells are put together."""

    _found: tuple[Path, Tree] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.sbs is None and self.phenotype is None:
            names = ("sbs", "phenotype")
            found = [f"{one} is empty" if one in self.model_fields_set else f"no {one}" for one in names]
            raise contradiction(
                "the screen has no images",
                next((one for one in names if one in self.model_fields_set), "sbs"),
                absent=names,
                expected="sbs, phenotype, or both, each with channels, pixel_size_um and images or samples",
                found=", ".join(found),
            )
        return self

    @model_validator(mode="after")
    def _something_to_look_at(self) -> Self:
        if self.stop_after and self.sbs is None:
            raise contradiction(
                "stop_after is sbs_qc, and there is no sbs", "stop_after", absent=("sbs",), expected="sbs"
            )
        return self

    @property
    def acquisitions(self) -> dict[str, Acquisition]:
        """Those that it has, by name."""
        some = {"sbs": self.sbs, "phenotype": self.phenotype}
        return {name: one for name, one in some.items() if one is not None}

    @property
    def aggregation(self) -> AggregateSettings:
        """How cells become profiles; their perturbations are named by the library's first column of genes,
        where no other column is chosen.
        """
        gene = (*self.library_columns.gene_columns, "gene_symbol")[0]
        usual = {"perturbation_column": f"{gene}_0", "second_column": f"{gene}_1"}
        return self.aggregate.replace(
            **{name: one for name, one in usual.items() if name not in self.aggregate.model_fields_set}
        )

    def exported(self, acquisition: str) -> tuple[str, ...]:
        """The stages of an acquisition that are exported as OME-Zarr."""
        one = self.acquisitions.get(acquisition)
        return () if one is None else one.omezarr.stages_of(acquisition, self.omezarr_export_default)

    def place(self, key: str) -> str:
        return ""  # places of artifacts are named after plates, wells and tiles

    def __getstate__(self) -> dict[Any, Any]:
        return _without_found(super().__getstate__())

    def tree(self, base: Path) -> Tree | None:
        """What lies in the output folder of Brieflow, looked for once in the life of this value; None where
        none is named, or it is none.
        """
        if self.brieflow is None:
            return None
        if self._found is None or self._found[0] != base:
            from cytopipe.screen.tree import find_files

            try:
                found = find_files(base / Path(self.brieflow).expanduser())
            except InputError:
                return None  # told as a problem
            self._found = (base, found)
        return self._found[1]

    def tiles(self, acquisition: str, base: Path) -> dict[TileName, Mapping[tuple[int, str], str]]:
        """The tiles of an acquisition with their images; none of those that the folder of Brieflow alone
        has.
        """
        found: dict[TileName, Mapping[tuple[int, str], str]] = {}
        if (tree := self.tree(base)) is not None:
            found |= {name: {} for name in tree.tiles(acquisition)}
        found |= self.acquisitions[acquisition].find(base).tiles
        return {
            name: found[name]
            for name in sorted(found, key=lambda one: (natural(one[0]), natural(one[1]), one[2]))
        }

    def _problems_of_tree(self, base: Path) -> Iterator[Problem]:
        if self.brieflow is None:
            for name, one in self.acquisitions.items():
                if not one.images and one.samples is None:
                    what = "neither images nor samples is given"
                    yield Problem((name, "images"), what, "one of them, or brieflow")
            return
        if (tree := self.tree(base)) is None:
            where = base / Path(self.brieflow).expanduser()
            what = "is no output folder of Brieflow" if where.is_dir() else "no such folder"
            expected = "a folder with preprocess, sbs or phenotype in it"
            yield Problem(("brieflow",), what, expected, self.brieflow)
            return
        for name, one in self.acquisitions.items():
            if not one.find(base).tiles and not tree.tiles(name):
                expected = f"files such as {name}/images/P-1_W-A1_T-2__aligned.tiff"
                yield Problem(("brieflow",), f"has no tile of {name}", expected, self.brieflow)

    def problems(self, base: Path) -> Iterator[Problem]:
        yield from self._problems_of_tree(base)
        for name, one in self.acquisitions.items():
            for problem in one.problems(base, may_lack=self.missing_tiles == "report"):
                yield Problem(
                    (name, *problem.loc), problem.what, problem.expected, problem.found, problem.next
                )
        if self.library is not None:
            yield from absent_file(base, self.library, ("library",))
        wells = {one[:2] for of in self.acquisitions for one in self.tiles(of, base)}
        known = {"all", *(plate for plate, _ in wells), *("-".join(one) for one in wells)}
        for number, name in enumerate(self.approved):
            if name not in known:
                shown = ", ".join(sorted(known, key=natural)[:10])
                yield Problem(("approved", number), "no such plate or well", expected=shown, found=name)

    def sets(self, name: str, base: Path) -> Mapping[str, Iterable[tuple[str, ScreenPart]]]:
        found = {of: self.tiles(of, base) for of in self.acquisitions}
        wells = sorted(
            {(plate, well) for images in found.values() for plate, well, _ in images},
            key=lambda one: (natural(one[0]), natural(one[1])),
        )
        plates = dict.fromkeys(plate for plate, _ in wells)
        tiles = {
            of: {well: [one[2] for one in some] for well, some in _by_well(images).items()}
            for of, images in found.items()
        }
        of_plates = {of: _by_plate(some) for of, some in tiles.items()}
        by_tile = {
            of: [self._tile(name, one, files) for one, files in images.items()]
            for of, images in found.items()
        }
        return {
            "screens": [(name, ScreenPart(self, name))],
            "screen_plates": [(f"{name}.{plate}", ScreenPart(self, name, plate)) for plate in plates],
            "screen_wells": [
                (
                    f"{name}.{plate}-{well}",
                    ScreenPart(self, name, plate, well, tiles=_tiles(tiles, of_plates, plate, well)),
                )
                for plate, well in wells
            ],
            **{f"{of}_tiles": some for of, some in by_tile.items()},
        }

    def _tile(
        self, screen: str, name: TileName, files: Mapping[tuple[int, str], str]
    ) -> tuple[str, ScreenPart]:
        plate, well, tile = name
        part = ScreenPart(self, screen, plate, well, tile, files)
        return f"{part.well_key}|{tile}", part


def _by_well(images: Iterable[TileName]) -> dict[tuple[str, str], list[TileName]]:
    found: dict[tuple[str, str], list[TileName]] = {}
    for name in images:
        found.setdefault(name[:2], []).append(name)
    return found


def _by_plate(by_well: Mapping[tuple[str, str], list[int]]) -> dict[str, list[int]]:
    """The tiles that any well of a plate has, in order."""
    found: dict[str, set[int]] = {}
    for (plate, _), tiles in by_well.items():
        found.setdefault(plate, set()).update(tiles)
    return {plate: sorted(tiles) for plate, tiles in found.items()}


def _tiles(
    tiles: Mapping[str, Mapping[tuple[str, str], list[int]]],
    of_plates: Mapping[str, Mapping[str, list[int]]],
    plate: str,
    well: str,
) -> dict[str, dict[int, bool]]:
    """The tiles of a well in each acquisition; False for those that only other wells of its plate have."""
    found: dict[str, dict[int, bool]] = {}
    for of, by_well in tiles.items():
        own = set(by_well.get((plate, well), ()))
        found[of] = {tile: tile in own for tile in of_plates[of].get(plate, ())} if own else {}
    return found


@dataclass(frozen=True, slots=True)
class ScreenPart:
    """A screen, one of its plates, wells or tiles.

    Parameters
    ----------
    settings : Screen
        The entry.
    screen : str
        Its name.
    plate, well : str
    tile : int
    files : mapping of (cycle, channel) to str
        The images of a tile; cycle 0 where there is one alone, channel "" where a file has all of them.
    tiles : mapping of acquisition to mapping of tile to bool
        Of a well: its tiles, and, False, those that only other wells of its plate have.
    """

    settings: Screen
    screen: str
    plate: str = ""
    well: str = ""
    tile: int = -1
    files: Mapping[tuple[int, str], str] = field(default_factory=dict)
    tiles: Mapping[str, Mapping[int, bool]] = field(default_factory=dict)

    @property
    def description(self) -> str:
        return self.settings.description if not self.plate else ""

    @property
    def plate_key(self) -> str:
        return f"{self.screen}.{self.plate}"

    @property
    def well_key(self) -> str:
        return f"{self.screen}.{self.plate}-{self.well}"

    @property
    def hold(self) -> str:
        """What a person has to do before the cells of a well go on; empty text where nothing is held."""
        screen, well = self.settings, f"{self.plate}-{self.well}"
        if screen.stop_after is None or not self.tiles.get("sbs"):
            return ""
        if {"all", self.plate, well} & set(screen.approved):
            return ""
        return (
            f"stop_after: {screen.stop_after}. Look at screen/qc/plate [{self.plate_key}], then materialize "
            f"screen/qc/approval [{self.well_key}] alone, or add {self.plate}, {well} or all to approved: "
            "in the project file"
        )

    @property
    def location(self) -> tuple[str, str, int]:
        """Plate, well and tile; tile -1 of a well."""
        return (self.plate, self.well, self.tile)

    @property
    def wildcards(self) -> dict[str, Any]:
        """Plate, well and tile, as columns of tables have them."""
        return {"plate": self.plate, "well": self.well, "tile": self.tile}

    @property
    def names(self) -> dict[str, str]:
        return {"screen": self.screen, "plate": self.plate, "well": self.well, "tile": str(self.tile)}

    def place(self, key: str) -> str:
        return ""
