"""Reinforcement learning from a replay buffer."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import EXAMPLES, classes, random, vectors
from tests.programs.program import program


def replay():
    rewards = random(17).standard_normal(EXAMPLES).astype("float32")
    ended = (random(18).random(EXAMPLES) < 0.2).astype("float32")
    return (
        {
            "state": vectors(4),
            "action": classes(2),
            "reward": rewards,
            "next_state": vectors(4, seed=19),
            "ended": ended,
        },
    )


@program("none", arrays=replay)
def deep_q_replay(base):
    class DeepQ(base):
        def __init__(self, online, target, *, discount, sync_every):
            super().__init__()
            self.online, self.target = online, target
            self.target.trainable = False
            self.discount, self.sync_every = discount, sync_every
            self.updates = self.add_weight(
                shape=(), dtype="int32", initializer="zeros", trainable=False, name="updates"
            )
            self.q_tracker = keras.metrics.Mean(name="q")

        def call(self, state):
            return tf.argmax(self.online(state), axis=1)

        def train_step(self, replayed):
            best = tf.reduce_max(self.target(replayed["next_state"]), axis=1)
            wanted = replayed["reward"] + self.discount * best * (1 - replayed["ended"])
            with tf.GradientTape() as tape:
                values = self.online(replayed["state"])
                taken = tf.reduce_sum(values * tf.one_hot(replayed["action"], 2), axis=1)
                loss = self.loss(wanted, taken)
            gradients = tape.gradient(loss, self.online.trainable_variables)
            self.optimizer.apply(gradients, self.online.trainable_variables)
            self.updates.assign_add(1)
            is_due = tf.equal(self.updates % self.sync_every, 0)
            for target, online in zip(self.target.weights, self.online.weights, strict=True):
                target.assign(tf.where(is_due, online, target))
            self.q_tracker.update_state(taken)
            return {"td_loss": loss, "q": self.q_tracker.result()}

    def network():
        hidden = layers.Dense(8, activation="relu")
        return keras.Sequential([keras.Input((4,)), hidden, layers.Dense(2)])

    model = DeepQ(network(), network(), discount=0.9, sync_every=4)
    optimizer = keras.optimizers.Adam(learning_rate=0.01, clipnorm=1.0)
    model.compile(optimizer=optimizer, loss=keras.losses.Huber())
    return model
