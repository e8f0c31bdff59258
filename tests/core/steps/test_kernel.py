"""The kernel is the neural tangent kernel: held against the arc-cosine kernels in closed form."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import enable_x64
from kernels import ntk
from numpy.typing import NDArray

from cohortmix.core.steps.kernel import kernel_ridge, ridge_predict

Array = NDArray[np.float64]


def arc_cosine_ntk(x1: Array, x2: Array, depth: int) -> Array:
    """Cho and Saul (2009), Eq. 5-6 for orders 0 and 1, in the recursion of Jacot et al. (2018), Theorem 1."""
    width = x1.shape[1]
    scale = np.sqrt(np.outer((x1**2).sum(1), (x2**2).sum(1))) / width
    sigma: Array = x1 @ x2.T / width
    theta: Array = sigma
    for _ in range(depth):
        cosine = np.clip(sigma / scale, -1, 1)
        angle = np.arccos(cosine)
        order_0 = (np.pi - angle) / np.pi
        order_1 = (np.sin(angle) + (np.pi - angle) * cosine) / np.pi
        scale = scale / 2
        sigma = scale * order_1
        theta = sigma + theta * order_0 / 2
    return theta


@pytest.fixture
def points() -> Array:
    signed = np.random.default_rng(3).normal(size=(12, 7))
    return np.vstack([signed, np.abs(signed), np.eye(7)])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_kernel_is_the_arc_cosine_closed_form(points: Array, depth: int) -> None:
    expected = arc_cosine_ntk(points, points, depth)
    assert np.abs(ntk(points, depth=depth) - expected).max() < 1e-6
    assert np.abs(ntk(points[:5], points[5:], depth) - expected[:5, 5:]).max() < 1e-6


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_another_depth_is_another_kernel(points: Array, depth: int) -> None:
    assert np.abs(ntk(points, depth=depth) - arc_cosine_ntk(points, points, depth + 1)).max() > 1e-2


def test_diagonal_is_that_of_double_precision(points: Array) -> None:
    for depth in (1, 2, 3):
        expected = (depth + 1) / 2**depth * (points**2).sum(1) / points.shape[1]
        np.testing.assert_allclose(np.diag(ntk(points, depth=depth)), expected, rtol=1e-7)


def test_precision_of_other_jax_code_is_left_alone(points: Array) -> None:
    predicted = ridge_predict(points.astype(np.float32), points, np.eye(len(points)))
    assert predicted.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32


def test_ridge_regression_is_the_normal_equation(points: Array) -> None:
    rng = np.random.default_rng(4)
    labels = rng.dirichlet(np.ones(3), size=len(points))
    x = rng.normal(size=(9, 7))
    k_ss = arc_cosine_ntk(points, points, 2)
    ridge = 1e-3 * np.trace(k_ss) / len(points)
    weights = np.linalg.solve(k_ss + ridge * np.eye(len(points)), labels - labels.mean(0))
    expected = labels.mean(0) + arc_cosine_ntk(x, points, 2) @ weights
    with enable_x64():
        predicted = np.asarray(kernel_ridge(jnp.asarray(x), jnp.asarray(points), jnp.asarray(labels), 2))
    np.testing.assert_allclose(predicted, expected, atol=1e-9)
    np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-9)


def test_gradient_in_the_points_is_the_finite_difference(points: Array) -> None:
    rng = np.random.default_rng(5)
    labels, x, direction = rng.random((len(points), 2)), rng.random((6, 7)), rng.normal(size=points.shape)

    @jax.jit
    def total(support: jax.Array) -> jax.Array:
        return (kernel_ridge(jnp.asarray(x), support, jnp.asarray(labels), 1) ** 2).sum()

    with enable_x64():
        slope = np.sum(jax.jit(jax.grad(total))(jnp.asarray(points)) * direction)
        step = 1e-3
        rise = float(total(jnp.asarray(points + step * direction)) - total(jnp.asarray(points - step * direction)))
    assert slope == pytest.approx(rise / (2 * step), rel=1e-4)


def test_a_network_without_hidden_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="depth=0"):
        ntk(np.eye(2), depth=0)


def test_import_needs_no_tensorflow() -> None:
    blocked = "import sys; sys.modules.update(tensorflow=None, tf2jax=None); import cohortmix.core.steps.kernel"
    subprocess.run([sys.executable, "-c", blocked], check=True)
