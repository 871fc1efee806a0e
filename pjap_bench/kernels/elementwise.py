"""What kernels do number by number, in a GPU's own instructions where Triton would take several times as many.

Triton's interpreter knows none of them; there everything is float32, and nothing is rounded.
"""

import triton
import triton.language as tl

_COMPILED = tl.constexpr(not triton.knobs.runtime.interpret)


@triton.jit
def rounded(x):
    """The nearest number of 10 bits of mantissa (Dekker, 1971), as products in tf32 take it.

    Products would cut the other bits off and make all values too small; the library behind separate operations rounds as well.
    NaN stays, and what is above 4e34, infinity too, becomes NaN: of a run with such numbers the loss is not finite.
    """
    if _COMPILED:
        x = tl.inline_asm_elementwise(
            """{
            .reg .f32 scaled, rest;
            mul.rn.f32 scaled, $1, 0f46000400;  // 2^13 + 1
            sub.rn.f32 rest, scaled, $1;
            sub.rn.f32 $0, scaled, rest;
            }""",
            "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
    return x


@triton.jit
def sigmoid(x):
    """To 3e-7."""
    if _COMPILED:
        return tl.inline_asm_elementwise(
            """{
            .reg .f32 power;
            mul.rn.f32 power, $1, 0fBFB8AA3B;  // -1 / ln 2
            ex2.approx.ftz.f32 power, power;
            add.rn.f32 power, power, 0f3F800000;
            rcp.approx.ftz.f32 $0, power;
            }""",
            "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        return tl.sigmoid(x)


@triton.jit
def tanh(x):
    """To 6e-7."""
    return 2 * sigmoid(2 * x) - 1


@triton.jit
def relu(x):
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
