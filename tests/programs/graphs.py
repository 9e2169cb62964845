"""Graph networks."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.programs.arrays import EXAMPLES, classes, random, vectors
from tests.programs.program import program


def nodes():
    """The index of each node and its class."""
    return np.arange(EXAMPLES), classes(3)


@program("seed_generator", arrays=nodes)
def graph_network(base):
    class GraphConvolution(layers.Layer):
        def __init__(self, width, **kwargs):
            super().__init__(**kwargs)
            self.prepare = layers.Dense(width, activation="gelu")
            self.update = layers.Dense(width, activation="gelu")

        def call(self, inputs):
            features, edges, edge_weights = inputs
            messages = self.prepare(tf.gather(features, edges[1])) * edge_weights[:, None]
            count = tf.shape(features)[0]
            gathered = tf.math.unsorted_segment_mean(messages, edges[0], num_segments=count)
            return tf.nn.l2_normalize(self.update(tf.concat([features, gathered], axis=1)), -1)

    class NodeClassifier(base):
        def __init__(self, graph_info, num_classes, hidden_units, dropout_rate=0.2, **kwargs):
            super().__init__(**kwargs)
            node_features, edges, edge_weights = graph_info
            self.node_features = tf.constant(node_features)
            self.edges = tf.constant(edges)
            self.edge_weights = edge_weights / tf.reduce_sum(edge_weights)
            self.preprocess = layers.Dense(hidden_units, activation="gelu")
            self.conv1 = GraphConvolution(hidden_units, name="graph_conv1")
            self.conv2 = GraphConvolution(hidden_units, name="graph_conv2")
            self.dropout = layers.Dropout(dropout_rate)
            self.compute_logits = layers.Dense(num_classes, name="logits")

        def call(self, input_node_indices, training=None):
            x = self.preprocess(self.node_features)
            for convolution in (self.conv1, self.conv2):
                x = x + convolution((x, self.edges, self.edge_weights))
            x = self.dropout(tf.gather(x, input_node_indices), training=training)
            return self.compute_logits(x)

    edges = random(14).integers(0, EXAMPLES, (2, 60))
    graph_info = vectors(6), edges, np.ones(60, "float32")
    model = NodeClassifier(graph_info=graph_info, num_classes=3, hidden_units=8)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model
