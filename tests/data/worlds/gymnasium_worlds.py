"""Writes gymnasium_worlds.json: what Gymnasium's worlds answer to states and actions, in float64.

    pip install gymnasium==1.4.0 && python tests/data/worlds/gymnasium_worlds.py
"""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np

random = np.random.default_rng(0)


def transitions(name, states, actions):
    env = gym.make(name).unwrapped
    env.reset(seed=0)
    rows = []
    for state, action in zip(states, actions):
        env.state = np.array(state)
        if hasattr(env, "steps_beyond_terminated"):
            env.steps_beyond_terminated = None
        seen, reward, terminated, _, _ = env.step(np.array([action]) if name == "Pendulum-v1" else int(action))
        rows.append(
            {
                "state": [float(x) for x in state],
                "action": float(action),
                "next": [float(x) for x in env.state],
                "observation": [float(x) for x in seen],
                "reward": float(reward),
                "terminated": bool(terminated),
            }
        )
    return rows


def length(name, action):
    """Steps until a whole episode is over, and how it ended, its first state as close to rest as can be."""
    env = gym.make(name)
    env.reset(seed=0)
    env.unwrapped.state = np.zeros_like(env.unwrapped.state)
    for step in range(1, 1000):
        _, _, terminated, truncated, _ = env.step(action(step))
        if terminated or truncated:
            return {"steps": step, "terminated": bool(terminated), "truncated": bool(truncated)}


rows = 40
wide = np.array([3, 3, 0.3, 3])
out = {
    "cartpole": transitions("CartPole-v1", random.uniform(-wide, wide, (rows, 4)), random.integers(0, 2, rows)),
    "pendulum": transitions(
        "Pendulum-v1", random.uniform([-9, -8], [9, 8], (rows, 2)), random.uniform(-3, 3, rows)
    ),
    "cartpoleFalls": length("CartPole-v1", lambda step: 1),
    "pendulumEnds": length("Pendulum-v1", lambda step: np.array([0.0])),
}
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out) + "\n")
print(path, path.stat().st_size)
