"""Updates of PPO on CartPole in PyTorch over Gymnasium's vector environment, in the structure that is usual for it (see ../jackdaw/ppo-cartpole.ts)."""

from contestant import THREADS, compete, per_second

ENVIRONMENTS, HORIZON, EPOCHS, MINIBATCHES = 4, 128, 4, 4
DISCOUNT, LAMBDA, CLIP, ENTROPY_COEF, VALUE_COEF, MAX_NORM = 0.99, 0.95, 0.2, 0.01, 0.5, 0.5


def load():
    import gymnasium as gym
    import numpy as np
    import torch
    from gymnasium.vector import AutoresetMode
    from torch import nn
    from torch.distributions import Categorical

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    worlds = gym.make_vec(
        "CartPole-v1",
        num_envs=ENVIRONMENTS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )

    def layer(inputs, outputs, gain=2**0.5):
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, gain)
        nn.init.zeros_(linear.bias)
        return linear

    def perceptron(outputs, gain):
        return nn.Sequential(layer(4, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, outputs, gain))

    actor, critic = perceptron(2, 0.01), perceptron(1, 1)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2.5e-4, eps=1e-5)

    shape = (HORIZON, ENVIRONMENTS)
    observations = torch.zeros(*shape, 4)
    actions, log_probs, rewards, dones, values = (torch.zeros(shape) for _ in range(5))
    state = {"seen": torch.tensor(worlds.reset(seed=1)[0]), "done": torch.zeros(ENVIRONMENTS)}

    def update():
        for t in range(HORIZON):
            observations[t], dones[t] = state["seen"], state["done"]
            with torch.no_grad():
                distribution = Categorical(logits=actor(state["seen"]))
                action = distribution.sample()
                values[t] = critic(state["seen"]).flatten()
            actions[t], log_probs[t] = action, distribution.log_prob(action)
            seen, reward, terminated, truncated, _ = worlds.step(action.numpy())
            rewards[t] = torch.tensor(reward)
            state["seen"] = torch.tensor(seen)
            state["done"] = torch.tensor(np.logical_or(terminated, truncated), dtype=torch.float32)

        with torch.no_grad():
            following = critic(state["seen"]).flatten()
        advantages, last = torch.zeros(shape), 0
        for t in reversed(range(HORIZON)):
            going_on = 1 - (state["done"] if t == HORIZON - 1 else dones[t + 1])
            next_values = following if t == HORIZON - 1 else values[t + 1]
            delta = rewards[t] + DISCOUNT * next_values * going_on - values[t]
            advantages[t] = last = delta + DISCOUNT * LAMBDA * going_on * last
        returns = advantages + values

        flat = [x.flatten(0, 1) for x in (observations, actions, log_probs, values, advantages, returns)]
        rows = HORIZON * ENVIRONMENTS
        for _ in range(EPOCHS):
            for chosen in torch.randperm(rows).split(rows // MINIBATCHES):
                seen, action, old_log_probs, old_values, advantage, target = (x[chosen] for x in flat)
                distribution = Categorical(logits=actor(seen))
                ratio = (distribution.log_prob(action) - old_log_probs).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = -torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
                value = critic(seen).flatten()
                clipped = old_values + (value - old_values).clamp(-CLIP, CLIP)
                value_loss = 0.5 * torch.max((value - target) ** 2, (clipped - target) ** 2).mean()
                loss = policy_loss + VALUE_COEF * value_loss - ENTROPY_COEF * distribution.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, MAX_NORM)
                optimizer.step()
                loss.item()

    update()
    count = sum(parameter.numel() for parameter in parameters)
    versions = {"PyTorch": torch.__version__, "Gymnasium": gym.__version__}
    return {"update": lambda seconds: per_second(seconds, ENVIRONMENTS * HORIZON, update)}, versions, count


compete(load)
