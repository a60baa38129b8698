"""Train eight classifiers of handwritten digits side by side, chunk by chunk, and compare them while they train.

    flashtrial run examples/digits_sweep.py

An ordinary script for RunPod's SDK: only the body of `Trial` travels to the worker, so it imports what it needs inside
its methods. Each trial is an instance that the worker keeps between calls: a chunk of data is one method call.
"""

import asyncio
import os
import time

from runpod_flash import LiveServerless, remote

CHUNKS = 6

CONFIGS = [
    {"model": "linear", "learning_rate": 0.001, "alpha": 1e-4, "scale": False},
    {"model": "linear", "learning_rate": 0.01, "alpha": 1e-4, "scale": False},
    {"model": "linear", "learning_rate": 0.01, "alpha": 1e-4, "scale": True},
    {"model": "linear", "learning_rate": 0.1, "alpha": 1e-2, "scale": True},
    {"model": "mlp", "hidden": 16, "learning_rate": 0.001, "alpha": 1e-4, "scale": True},
    {"model": "mlp", "hidden": 64, "learning_rate": 0.003, "alpha": 1e-4, "scale": True},
    {"model": "mlp", "hidden": 128, "learning_rate": 0.003, "alpha": 1e-3, "scale": True},
    {"model": "mlp", "hidden": 128, "learning_rate": 0.03, "alpha": 1e-4, "scale": False},
]

workers = LiveServerless(name="digits-sweep", workersMin=0, workersMax=1, idleTimeout=60)


@remote(resource_config=workers, dependencies=["scikit-learn"])
class Trial:
    def __init__(self, config, chunks):
        import numpy as np

        import flashtrial

        (train, labels), self.validation, self.test = self.load(config["scale"])
        self.chunks = list(zip(np.array_split(train, chunks), np.array_split(labels, chunks), strict=True))
        self.model = self.build(config)
        self.step = 0
        name = "-".join(str(value) for value in config.values())
        flashtrial.init(project="digits-sweep", name=name, config=config)

    def load(self, scale):
        """Training, validation and test digits; the same split in every trial."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, labels = load_digits(return_X_y=True)
        fixed = {"test_size": 0.2, "random_state": 0}
        rest, test, rest_labels, test_labels = train_test_split(images / 16, labels, stratify=labels, **fixed)
        train, seen, train_labels, seen_labels = train_test_split(rest, rest_labels, stratify=rest_labels, **fixed)
        if scale:
            mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
            train, seen, test = ((part - mean) / spread for part in (train, seen, test))
        return (train, train_labels), (seen, seen_labels), (test, test_labels)

    def build(self, config):
        """The classifier that a configuration describes."""
        from sklearn.linear_model import SGDClassifier
        from sklearn.neural_network import MLPClassifier

        rate, alpha = config["learning_rate"], config["alpha"]
        if config["model"] == "linear":
            return SGDClassifier("log_loss", learning_rate="constant", eta0=rate, alpha=alpha, random_state=0)
        return MLPClassifier((config["hidden"],), learning_rate_init=rate, alpha=alpha, random_state=0)

    def train_chunk(self, number, passes=3):
        """Several passes over one chunk, each followed by a look at the validation digits."""
        import numpy as np
        from sklearn.metrics import log_loss

        import flashtrial

        images, labels = self.chunks[number]
        seen, seen_labels = self.validation
        classes = np.arange(10)
        metrics = {}
        for _ in range(passes):
            order = np.random.default_rng(self.step).permutation(len(images))
            for batch in np.array_split(order, len(order) // 16):
                self.model.partial_fit(images[batch], labels[batch], classes=classes)
            metrics = {
                "loss": float(log_loss(seen_labels, self.model.predict_proba(seen), labels=classes)),
                "accuracy": float(self.model.score(seen, seen_labels)),
            }
            flashtrial.log(metrics, step=self.step)
            self.step += 1
        return metrics

    def finish(self):
        """The accuracy on digits that nothing has looked at before."""
        import flashtrial

        accuracy = float(self.model.score(*self.test))
        flashtrial.finish()
        return accuracy


async def train(config):
    """One trial from its first chunk to its end: its configuration and its accuracy on held-out digits."""
    trial = Trial(config, CHUNKS)
    for number in range(CHUNKS):
        await trial.train_chunk(number)
    return config, await trial.finish()


async def main():
    started = time.monotonic()
    results = await asyncio.gather(*(train(config) for config in CONFIGS))
    results.sort(key=lambda result: result[1], reverse=True)
    print(f"\n{len(results)} trials, {CHUNKS} chunks each, in {time.monotonic() - started:.0f} s")
    print("held-out accuracy  configuration")
    for config, accuracy in results:
        print(f"{accuracy:17.4f}  {', '.join(f'{name}={value}' for name, value in config.items())}")
    print(f"best held-out accuracy: {results[0][1]:.4f}")
    print(f"dashboard: {os.environ.get('FLASHTRIAL_URL', 'http://127.0.0.1:8787')}")


if __name__ == "__main__":
    asyncio.run(main())
