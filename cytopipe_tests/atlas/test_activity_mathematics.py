"""Ridge, its exact null, and the second opinions, against slow plain twins and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cytopipe.atlas import regression, ridge
from cytopipe.atlas.activity import METHODS, ActivitySettings, find_overlap, score
from cytopipe.atlas.permutation import permutations
from cytopipe.atlas.signatures import Signature
from cytopipe.errors import InputError, ParameterError


def signature_of(weights: np.ndarray, name: str = "mine") -> Signature:
    genes = tuple(f"G{i:04d}" for i in range(weights.shape[0]))
    return Signature(name, genes, tuple(f"T{i}" for i in range(weights.shape[1])), weights)


@pytest.fixture
def drawn():
    """A signature of 150 genes and 6 targets, and 5 profiles of its genes among others, shuffled."""
    rng = np.random.default_rng(5)
    signature = signature_of(rng.normal(size=(150, 6)))
    genes = [*signature.genes, *(f"OTHER{i}" for i in range(30))]
    rng.shuffle(genes)
    return rng.gamma(2.0, size=(5, len(genes))), genes, signature


def test_exact_null_equals_all_permutations_of_five_genes():
    """Mean and standard error over all 120 orders of five labels are those of the formula."""
    rng = np.random.default_rng(0)
    project, profiles = rng.normal(size=(3, 5)), rng.normal(size=(5, 2))
    every = np.array([project @ profiles[list(order)] for order in itertools.permutations(range(5))])
    found = ridge.exact_null(project, profiles)
    np.testing.assert_allclose(found.se, every.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        found.z, (project @ profiles - every.mean(axis=0)) / every.std(axis=0), rtol=1e-9
    )


def test_z_is_a_scaled_correlation_of_projection_and_profile():
    rng = np.random.default_rng(1)
    project, profiles = rng.normal(size=(4, 60)), rng.normal(size=(60, 3))
    expected = [[np.sqrt(59) * stats.pearsonr(t, y)[0] for y in profiles.T] for t in project]
    np.testing.assert_allclose(ridge.exact_null(project, profiles).z, expected, rtol=1e-10)


def test_projection_solves_the_penalised_normal_equations():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    # ridge is least squares on data extended by sqrt(lambda) I
    extended = np.vstack([x, np.sqrt(7.0) * np.eye(5)])
    expected = np.linalg.lstsq(extended, np.vstack([y, np.zeros((5, 3))]), rcond=None)[0]
    np.testing.assert_allclose(ridge.projection(x, 7.0) @ y, expected, rtol=1e-10)


def test_targets_that_repeat_each_other_share_their_effect_without_a_penalty():
    rng = np.random.default_rng(3)
    one = rng.normal(size=(30, 1))
    beta = ridge.projection(np.hstack([one, one]), 0.0) @ (2 * one)
    np.testing.assert_allclose(beta, [[1.0], [1.0]], rtol=1e-8)


@pytest.mark.parametrize("stream", ["counter", "numpy", "srand"])
def test_permutation_p_equals_a_plain_count(stream):
    rng = np.random.default_rng(4)
    project, profiles = rng.normal(size=(3, 30)), rng.normal(size=(30, 2))
    beta = project @ profiles
    count = np.zeros_like(beta)
    for order in permutations(30, 70, seed=9, stream=stream):
        for i, j in np.ndindex(beta.shape):
            count[i, j] += abs(sum(project[i, k] * profiles[order[k], j] for k in range(30))) >= abs(
                beta[i, j]
            )
    for workers in (1, 3):
        found = ridge.permutation_pvalues(project, profiles, count=70, seed=9, stream=stream, workers=workers)
        np.testing.assert_array_equal(found, (count + 1) / 71)


@pytest.mark.parametrize("stream", ["counter", "numpy", "srand"])
def test_every_stream_yields_permutations_that_a_seed_repeats(stream):
    first = list(permutations(101, 40, seed=3, stream=stream))
    again = list(permutations(101, 40, seed=3, stream=stream))
    other = list(permutations(101, 40, seed=4, stream=stream))
    assert all(sorted(order) == list(range(101)) for order in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({order.tobytes() for order in first}) == 40


def test_the_counter_stream_puts_every_gene_everywhere_equally_often():
    """Chi-square of positions over 20,000 permutations of 6 labels stays within its 1e-6 tail."""
    table = np.zeros((6, 6))
    for order in permutations(6, 20_000, seed=1):
        table[np.arange(6), order] += 1
    statistic = np.square(table - 20_000 / 6).sum() / (20_000 / 6)
    assert statistic < stats.chi2.isf(1e-6, 25)


def test_glibcs_generator_is_reproduced():
    """The first numbers of glibc's rand() after srand(1) and srand(42), from their published sequences."""
    from cytopipe.atlas.permutation import _glibc_state

    def rand(seed: int, count: int) -> list[int]:
        words = _glibc_state(seed).tolist()
        for _ in range(count):
            words.append((words[-3] + words[-31]) & 0xFFFFFFFF)
        return [word >> 1 for word in words[31:]]

    assert rand(1, 4) == [1804289383, 846930886, 1681692777, 1714636915]
    assert rand(42, 4) == [71876166, 708592740, 1483128881, 907283241]


def test_gene_order_does_not_reach_the_result(drawn):
    values, genes, signature = drawn
    order = np.random.default_rng(0).permutation(len(genes))
    first = score(values, genes, signature, ActivitySettings(n_permutations=20))
    second = score(
        values[:, order], [genes[i] for i in order], signature, ActivitySettings(n_permutations=20), workers=4
    )
    for name in ("z", "beta", "se", "pvalue", "fdr"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert first.overlap.common == tuple(sorted(signature.genes))


def test_a_planted_activity_is_found_and_the_rest_is_not(drawn):
    _, _, signature = drawn
    rng = np.random.default_rng(8)
    profile = 3 * signature.weights[:, 2] + rng.normal(size=150)
    found = score(profile[None], signature.genes, signature, ActivitySettings(regularization=10.0))
    assert found.z[0].argmax() == 2
    assert found.fdr[0, 2] < 0.05
    assert found.pvalue[0, 2] == 1 / 1001


def test_a_constant_profile_and_a_constant_target_say_nothing(drawn):
    _, _, signature = drawn
    weights = signature.weights.copy()
    weights[:, 1] = 0.25
    found = score(np.vstack([np.full(150, 3.0), weights[:, 0]]), signature.genes, signature_of(weights))
    assert (found.z[0] == 0).all() and (found.pvalue[0] == 1).all() and (found.fdr[0] == 1).all()
    assert found.z[1, 1] == 0 and found.pvalue[1, 1] == 1
    assert np.isfinite(found.se).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 100), shift=st.floats(-50, 50))
def test_scaled_activity_ignores_the_units_of_expression(seed, scale, shift):
    rng = np.random.default_rng(seed)
    signature = signature_of(rng.normal(size=(120, 4)))
    values = rng.normal(size=(3, 120))
    plain = score(values, signature.genes, signature, ActivitySettings(n_permutations=0))
    other = score(values * scale + shift, signature.genes, signature, ActivitySettings(n_permutations=0))
    np.testing.assert_allclose(plain.z, other.z, atol=1e-7)
    assert ((plain.pvalue >= 0) & (plain.fdr >= plain.pvalue) & (plain.fdr <= 1)).all()


def test_ulm_equals_scipys_simple_regression():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(80, 4)), rng.normal(size=(80, 3))
    found = regression.univariate(x, y)
    for i, j in np.ndindex(4, 3):
        line = stats.linregress(x[:, i], y[:, j])
        np.testing.assert_allclose(
            [found.beta[i, j], found.se[i, j], found.pvalue[i, j]],
            [line.slope, line.stderr, line.pvalue],
            rtol=1e-9,
        )


def test_mlm_equals_the_textbook_formula():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    design = np.column_stack([np.ones(60), x])
    found = regression.multivariate(x, y)
    for j in range(2):
        slope, rss, *_ = np.linalg.lstsq(design, y[:, j], rcond=None)
        se = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rss[0] / 56)
        np.testing.assert_allclose(found.z[:, j], (slope / se)[1:], rtol=1e-9)
        np.testing.assert_allclose(found.pvalue[:, j], 2 * stats.t.sf(abs(slope / se)[1:], 56), rtol=1e-9)


@pytest.mark.long  # importing decoupler and compiling its kernels takes 20 s
@pytest.mark.parametrize("method", ["ulm", "mlm"])
def test_second_opinions_equal_decouplers(drawn, method):
    decoupler = pytest.importorskip("decoupler")
    import pandas as pd

    values, genes, signature = drawn
    keep = [gene in set(signature.genes) for gene in genes]
    frame = pd.DataFrame(values[:, keep], columns=[gene for gene in genes if gene in set(signature.genes)])
    frame.index = [f"group{i}" for i in range(len(frame))]
    net = pd.DataFrame(
        [
            (target, gene, signature.weights[row, column])
            for column, target in enumerate(signature.targets)
            for row, gene in enumerate(signature.genes)
        ],
        columns=["source", "target", "weight"],
    )
    theirs = getattr(decoupler.mt, method)(frame, net, tmin=5, verbose=False)[0]
    chosen = ActivitySettings(method=method, expression="raw", scale_signature=False)
    ours = score(values, genes, signature, chosen)
    np.testing.assert_allclose(ours.z, theirs[list(signature.targets)].to_numpy(), rtol=1e-4, atol=1e-5)


def test_ridge_and_ulm_agree_on_what_is_active(drawn):
    """With a penalty that swamps X'X, ridge orders groups exactly as simple regression does."""
    values, genes, signature = drawn
    first = score(values, genes, signature, ActivitySettings(regularization=1e12, n_permutations=0))
    second = score(values, genes, signature, ActivitySettings(method="ulm"))
    for target in range(6):
        assert stats.spearmanr(first.z[:, target], second.z[:, target])[0] == pytest.approx(1.0)


def test_every_method_describes_itself():
    for method in METHODS.values():
        assert method.describe.endswith(".") and "doi" in method.reference


def test_mlm_refuses_targets_that_repeat_each_other():
    x = np.random.default_rng(0).normal(size=(50, 1))
    with pytest.raises(InputError, match="Use ridge or ulm"):
        regression.multivariate(np.hstack([x, x]), x)


def test_ninety_nine_common_genes_are_refused_with_the_overlap(drawn):
    _, genes, signature = drawn
    common = [gene for gene in genes if gene.startswith("G")][:99]
    with pytest.raises(InputError, match="at least 100 of 150; found 99 of 99"):
        score(np.ones((2, 99)), common, signature)


def test_ensembl_names_are_recognised(drawn):
    signature = drawn[2]
    with pytest.raises(InputError, match="Ensembl"):
        find_overlap([f"ENSG{i:011d}" for i in range(500)], signature)


def test_a_gene_named_twice_is_left_out_and_said_so(drawn):
    values, genes, signature = drawn
    twice = [*genes, "G0007"]
    found = score(np.hstack([values, values[:, :1]]), twice, signature, ActivitySettings(n_permutations=0))
    assert found.overlap.ambiguous == ("G0007",)
    assert len(found.overlap.common) == 149


def test_missing_values_are_refused_by_gene_and_group(drawn):
    values, genes, signature = drawn
    broken = values.copy()
    broken[3, genes.index("G0042")] = np.nan
    with pytest.raises(InputError, match="profile 3 has no finite value for gene G0042"):
        score(broken, genes, signature)


def test_settings_report_all_their_faults_at_once():
    with pytest.raises(ParameterError) as caught:
        ActivitySettings(
            method="lasso", expression="log", regularization=-1.0, n_permutations=-5, seed=-1, stream="r"
        )
    assert {finding.where for finding in caught.value.findings} == {
        "method",
        "expression",
        "regularization",
        "n_permutations",
        "seed",
        "stream",
    }


def test_an_overlap_says_how_much_of_a_signature_it_is_and_warns_where_it_is_little():
    """305 of 4,881 genes, as PBMC of a small panel have of CytoSig, mean little; half of them do."""
    from cytopipe.atlas.activity import Overlap

    genes = tuple(f"G{n}" for n in range(305))
    little = Overlap(common=genes, n_signature_genes=4881, n_profile_genes=765)
    assert str(little) == "305 of 4,881 genes of the signature (6%)"
    assert str(little) in little.warning
    assert Overlap(common=genes, n_signature_genes=610, n_profile_genes=765).warning == ""
