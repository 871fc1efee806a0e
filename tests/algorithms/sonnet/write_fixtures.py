"""Writes the fixtures of this folder with dm-sonnet itself, in an environment of its own (nothing of it is among the project's):

python -m venv /tmp/sonnet
/tmp/sonnet/bin/pip install dm-sonnet==2.0.2 tensorflow-cpu==2.21.0 numpy==2.4.6
/tmp/sonnet/bin/python tests/algorithms/sonnet/write_fixtures.py
"""

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path

import numpy as np
import sonnet as snt
import tensorflow as tf

FOLDER = Path(__file__).resolve().parent
PRECISIONS = {"float32": tf.float32, "float64": tf.float64}
LEVELS = np.linspace(0.005, 0.995, 199)
DRAWS = 100_000


def assign(variables: dict[str, tf.Variable], values: dict[str, np.ndarray]) -> None:
    for name, variable in variables.items():
        variable.assign(values[name].astype(variable.dtype.as_numpy_dtype))


def gru(random: np.random.Generator, rows: int = 3, steps: int = 8, features: int = 5, width: int = 4) -> dict:
    """Hidden states along a sequence, from a hidden state that is not zero."""
    arrays = {
        "wi": 0.7 * random.standard_normal((features, 3 * width)),
        "wh": 0.7 * random.standard_normal((width, 3 * width)),
        "b": 0.5 * random.standard_normal(3 * width),
        # As after the policy's relu, so that an embedding by the identity leaves them alone.
        "inputs": random.standard_normal((steps, rows, features)).clip(0),
        "start": random.uniform(-1, 1, (rows, width)),
    }
    for precision, dtype in PRECISIONS.items():
        cell = snt.GRU(width, dtype=dtype)
        inputs, hidden = tf.constant(arrays["inputs"], dtype), tf.constant(arrays["start"], dtype)
        cell(inputs[0], hidden)  # the first call makes the variables
        assign({"wi": cell.input_to_hidden, "wh": cell.hidden_to_hidden, "b": cell.b}, arrays)
        hiddens = []
        for step in range(steps):
            _, hidden = cell(inputs[step], hidden)
            hiddens.append(hidden.numpy())
        arrays[f"hidden_{precision}"] = np.stack(hiddens)
    return arrays


def policy(
    random: np.random.Generator,
    steps: int = 8,
    sequences: int = 2,
    agents: int = 2,
    observation: int = 5,
    action: int = 3,
    width: int = 6,
) -> dict:
    """Actions of the whole policy along sequences; an episode ends inside each of them."""
    keep = np.ones((steps, sequences))
    keep[3, 0] = keep[5, 1] = 0
    arrays = {
        "embed_w": 0.7 * random.standard_normal((agents + observation, width)),
        "embed_b": 0.5 * random.standard_normal(width),
        "gru_wi": 0.7 * random.standard_normal((width, 3 * width)),
        "gru_wh": 0.7 * random.standard_normal((width, 3 * width)),
        "gru_b": 0.5 * random.standard_normal(3 * width),
        "out_w": 0.7 * random.standard_normal((width, action)),
        "out_b": 0.5 * random.standard_normal(action),
        "observations": random.standard_normal((steps, sequences, agents, observation)),
        "keep": keep,
    }
    for precision, dtype in PRECISIONS.items():
        embed, cell, out = snt.Linear(width), snt.GRU(width, dtype=dtype), snt.Linear(action)
        network = snt.DeepRNN([embed, tf.nn.relu, cell, tf.nn.relu, out, tf.nn.tanh])
        network(tf.zeros((1, agents + observation), dtype), network.initial_state(1))
        variables = {"gru_wi": cell.input_to_hidden, "gru_wh": cell.hidden_to_hidden, "gru_b": cell.b}
        variables |= {"embed_w": embed.w, "embed_b": embed.b, "out_w": out.w, "out_b": out.b}
        assign(variables, arrays)
        actions = np.empty((steps, sequences, agents, action), dtype=dtype.as_numpy_dtype)
        for sequence in range(sequences):
            for agent in range(agents):
                state = network.initial_state(1)
                for step in range(steps):
                    if keep[step, sequence] == 0:
                        state = network.initial_state(1)
                    row = np.concatenate([np.eye(agents)[agent], arrays["observations"][step, sequence, agent]])
                    output, state = network(tf.constant(row[None], dtype), state)
                    actions[step, sequence, agent] = output[0]
        arrays[f"actions_{precision}"] = actions
    return arrays


def critic(
    random: np.random.Generator, points: int = 4, choices: int = 3, state: int = 5, joint: int = 6, width: int = 7
) -> dict:
    """Values of several joint actions in each state, by two critics."""
    arrays = {
        "first_w": 0.5 * random.standard_normal((2, state + joint, width)),
        "first_b": 0.5 * random.standard_normal((2, width)),
        "second_w": 0.5 * random.standard_normal((2, width, width)),
        "second_b": 0.5 * random.standard_normal((2, width)),
        "out_w": 0.5 * random.standard_normal((2, width, 1)),
        "out_b": 0.5 * random.standard_normal((2, 1)),
        "states": random.standard_normal((points, state)),
        "actions": random.uniform(-1, 1, (points, choices, joint)),
    }
    states = np.repeat(arrays["states"][:, None], choices, axis=1)
    for precision, dtype in PRECISIONS.items():
        inputs = tf.constant(np.concatenate([states, arrays["actions"]], axis=-1), dtype)
        values = []
        for twin in range(2):
            first, second, out = snt.Linear(width), snt.Linear(width), snt.Linear(1)
            network = snt.Sequential([first, tf.nn.relu, second, tf.nn.relu, out])
            network(inputs)
            variables = {"first_w": first.w, "first_b": first.b, "second_w": second.w, "second_b": second.b}
            variables |= {"out_w": out.w, "out_b": out.b}
            assign(variables, {name: arrays[name][twin] for name in variables})
            values.append(network(inputs)[..., 0].numpy())
        arrays[f"values_{precision}"] = np.stack(values)
    return arrays


def rmsprop(random: np.random.Generator, steps: int = 12, rate: float = 1e-3) -> dict:
    """Parameters and mean squares after each step; like the paper's code, gives a rate and leaves the rest to Sonnet."""
    gradients = random.standard_normal((steps, 8))
    # One column each: never any gradient, now and then none, none after the first, around the root of epsilon and far below it.
    gradients[:, 1] = 0.0
    gradients[::3, 2] = 0.0
    gradients[1:, 3] = 0.0
    gradients[:, 4] *= 1e-5
    gradients[:, 5] *= 1e-8
    gradients[:, 6] *= 1e4
    arrays = {"rate": rate, "start": random.standard_normal(8), "gradients": gradients}
    default = snt.optimizers.RMSProp(learning_rate=rate)
    arrays |= {name: getattr(default, name) for name in ("decay", "epsilon", "momentum", "centered")}
    for precision, dtype in PRECISIONS.items():
        # As tensors, because Sonnet rounds Python's numbers to float32 on their way to float64.
        numbers = {name: tf.constant(arrays[name], dtype) for name in ("decay", "epsilon", "momentum")}
        optimiser = snt.optimizers.RMSProp(tf.constant(rate, dtype), **numbers)
        parameters = tf.Variable(tf.constant(arrays["start"], dtype))
        path, mean_squares = [], []
        for gradient in gradients:
            optimiser.apply([tf.constant(gradient, dtype)], [parameters])
            path.append(parameters.numpy())
            mean_squares.append(optimiser.ms[0].numpy())
        arrays |= {f"parameters_{precision}": np.stack(path), f"mean_squares_{precision}": np.stack(mean_squares)}
    return arrays


def linear_weights(fan_in: int) -> tuple[np.ndarray, np.ndarray]:
    layer = snt.Linear(-(-DRAWS // fan_in))
    layer(tf.zeros((1, fan_in)))
    return layer.w.numpy(), layer.b.numpy()


def gru_weights(name: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of as many cells as it takes: a cell's limits depend on its own shape."""
    weights, biases = [], []
    while sum(weight.size for weight in weights) < DRAWS:
        cell = snt.GRU(width)
        cell(tf.zeros((1, width)), cell.initial_state(1))
        weights.append(getattr(cell, name).numpy())
        biases.append(cell.b.numpy())
    return np.stack(weights), np.stack(biases)


def initialisers() -> dict:
    """Quantiles and a few numbers of the default weights of the real layers."""
    tf.random.set_seed(0)
    drawn = {f"linear_{fan_in}": linear_weights(fan_in) for fan_in in (15, 23, 64, 128)}
    drawn |= {name: gru_weights(name, 64) for name in ("input_to_hidden", "hidden_to_hidden")}
    arrays = {"levels": LEVELS}
    for name, (weights, biases) in drawn.items():
        values = weights.astype(np.float64)
        arrays[f"{name}_quantiles"] = np.quantile(values, LEVELS)
        arrays[f"{name}_count"] = values.size
        arrays[f"{name}_mean"], arrays[f"{name}_sd"] = values.mean(), values.std()
        arrays[f"{name}_min"], arrays[f"{name}_max"] = values.min(), values.max()
        arrays[f"{name}_largest_bias"] = np.abs(biases).max()
    return arrays


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    parts = {"gru": gru(generator), "policy": policy(generator), "critic": critic(generator), "rmsprop": rmsprop(generator)}
    parts["initialisers"] = initialisers()
    path = FOLDER / "fixtures.npz"
    np.savez_compressed(path, **{f"{part}.{name}": value for part, arrays in parts.items() for name, value in arrays.items()})
    versions = {package: importlib.metadata.version(package) for package in ("dm-sonnet", "tensorflow-cpu", "numpy")}
    versions["python"] = platform.python_version()
    written = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "written_with": versions}
    (FOLDER / "fixtures.json").write_text(json.dumps(written, indent=2) + "\n")
