"""Nets of those of Caffe's layers that a classifier of small images needs."""

import numpy


class Net:
    """The layers of one phase. With `share`, the weights are those of the other net."""

    def __init__(self, described, phase, source, numbers, fatal, refuse, share=None):
        self.name = described.get("name", "")
        self.layers, tops = [], {}
        for layer in described.get("layer", []):
            layer.setdefault("name", "")
            if not included(layer, phase):
                continue
            kind = KINDS.get(layer.get("type", ""))
            if kind is None:
                refuse(f"layer {layer['name']}: no layers of type {layer.get('type', '')!r}, only "
                       + ", ".join(KINDS))
            for bottom in layer.get("bottom", []):
                if bottom not in tops:
                    fatal("insert_splits.cpp:29", f"Unknown bottom blob '{bottom}' (layer "
                          f"'{layer['name']}', bottom index 0)")
            if len(layer.get("bottom", [])) != kind.bottoms:
                fatal("layer.hpp", f"Check failed: {kind.bottoms} bottom blobs of layer '{layer['name']}'")
            made = kind(layer, source, numbers, refuse)
            if len(made.tops) != kind.outputs:
                fatal("layer.hpp", f"Check failed: {kind.outputs} top blobs of layer '{layer['name']}'")
            if share:
                made.take_weights(share.layer(layer["name"]))
            made.shape(tops)
            self.layers.append(made)
        if not any(isinstance(layer, SoftmaxWithLoss) for layer in self.layers):
            fatal("net.cpp", f"no layer of the {phase} phase has a loss")

    def layer(self, name):
        return next((layer for layer in self.layers if layer.name == name), None)

    def forward(self):
        """One batch; answers the outputs: what no layer takes and is one number."""
        self.values = {}
        for layer in self.layers:
            layer.forward(self.values)
        taken = {bottom for layer in self.layers for bottom in layer.inputs}
        outputs = {name: value for name, value in self.values.items() if name not in taken}
        return {name: value for name, value in outputs.items() if numpy.ndim(value) == 0}

    def forward_backward(self):
        """One batch and the gradients of all blobs; answers the loss."""
        outputs = self.forward()
        gradients = {}
        for layer in reversed(self.layers):
            layer.backward(self.values, gradients)
        losses = [layer.tops[0] for layer in self.layers if isinstance(layer, SoftmaxWithLoss)]
        return sum(outputs[name] for name in losses)

    def blobs(self):
        return [blob for layer in self.layers for blob in layer.blobs]

    def gradients(self):
        return [gradient for layer in self.layers for gradient in layer.gradients]

    def factors(self):
        """Of each blob: what multiplies the learning rate, and the weight decay."""
        return [pair for layer in self.layers for pair in layer.factors()]

    def described_blobs(self):
        return [(layer.name, layer.kind, layer.blobs) for layer in self.layers]

    def load(self, blobs):
        """Takes the blobs of layers with these names; others are ignored, as Caffe does."""
        for layer in self.layers:
            for own, given in zip(layer.blobs, blobs.get(layer.name, [])):
                if own.shape != given.shape:
                    raise ValueError(f"layer {layer.name} has another shape")
                own[...] = given


def included(layer, phase):
    rules = layer.get("include", [])
    excluded = any(rule.get("phase", phase) == phase for rule in layer.get("exclude", []))
    return not excluded and (not rules or any(rule.get("phase", phase) == phase for rule in rules))


class Layer:
    bottoms, outputs = 1, 1

    def __init__(self, given, source, numbers, refuse):
        self.given, self.name, self.kind = given, given["name"], given["type"]
        self.inputs, self.tops = given.get("bottom", []), given.get("top", [])
        self.blobs, self.gradients, self.numbers, self.refuse = [], [], numbers, refuse

    def shape(self, tops):
        """Learns the size of what comes in, and says that of what goes out."""
        for top in self.tops:
            tops[top] = tops[self.inputs[0]]

    def take_weights(self, other):
        self.shared = other

    def factors(self):
        given = self.given.get("param", [])
        given = given + [{}] * (len(self.blobs) - len(given))
        return [(each.get("lr_mult", 1.0), each.get("decay_mult", 1.0)) for each in given[: len(self.blobs)]]

    def backward(self, values, gradients):
        pass


class Data(Layer):
    bottoms, outputs = 0, 2

    def __init__(self, given, source, numbers, refuse):
        super().__init__(given, source, numbers, refuse)
        for member in given.get("transform_param", {}):
            if member != "scale":
                refuse(f"layer {self.name}: transform_param.{member}")
        self.source = source(given)

    def shape(self, tops):
        tops[self.tops[0]], tops[self.tops[1]] = self.source.images.shape[1], 1

    def forward(self, values):
        values[self.tops[0]], values[self.tops[1]] = self.source.next()


class InnerProduct(Layer):
    def filled(self, filler, shape):
        kind = filler.get("type", "constant")
        if kind == "constant":
            return numpy.full(shape, filler.get("value", 0.0))
        if kind == "xavier":
            edge = (3 / shape[1]) ** 0.5
            return self.numbers.uniform(-edge, edge, shape)
        if kind == "gaussian":
            return self.numbers.normal(filler.get("mean", 0.0), filler.get("std", 1.0), shape)
        if kind == "uniform":
            return self.numbers.uniform(filler.get("min", 0.0), filler.get("max", 1.0), shape)
        return self.refuse(f"layer {self.name}: no filler of type {kind!r}")

    def shape(self, tops):
        given = self.given.get("inner_product_param", {})
        outputs, inputs = given.get("num_output", 0), tops[self.inputs[0]]
        if outputs <= 0:
            self.refuse(f"layer {self.name}: num_output must be positive")
        tops[self.tops[0]] = outputs
        other = getattr(self, "shared", None)
        if other:
            self.blobs = other.blobs
            return
        self.blobs = [self.filled(given.get("weight_filler", {}), (outputs, inputs))]
        if given.get("bias_term", True):
            self.blobs.append(self.filled(given.get("bias_filler", {}), (outputs,)))

    def forward(self, values):
        self.seen = values[self.inputs[0]]
        product = self.seen @ self.blobs[0].T
        values[self.tops[0]] = product + self.blobs[1] if len(self.blobs) > 1 else product

    def backward(self, values, gradients):
        above = gradients[self.tops[0]]
        self.gradients = [above.T @ self.seen, above.sum(axis=0)][: len(self.blobs)]
        gradients[self.inputs[0]] = above @ self.blobs[0]


class ReLU(Layer):
    def forward(self, values):
        self.slope = self.given.get("relu_param", {}).get("negative_slope", 0.0)
        seen = values[self.inputs[0]]
        self.positive = seen > 0
        values[self.tops[0]] = numpy.where(self.positive, seen, self.slope * seen)

    def backward(self, values, gradients):
        gradients[self.inputs[0]] = gradients[self.tops[0]] * numpy.where(self.positive, 1.0, self.slope)


class SoftmaxWithLoss(Layer):
    bottoms = 2

    def forward(self, values):
        scores, labels = (values[name] for name in self.inputs)
        raised = numpy.exp(scores - scores.max(axis=1, keepdims=True))
        self.guess, self.rows = raised / raised.sum(axis=1, keepdims=True), numpy.arange(len(labels))
        if labels.max() >= scores.shape[1]:
            self.refuse(f"layer {self.name}: a label of {labels.max()} with {scores.shape[1]} outputs")
        values[self.tops[0]] = float(-numpy.log(self.guess[self.rows, labels] + 1e-30).mean())

    def backward(self, values, gradients):
        gradient = self.guess.copy()
        gradient[self.rows, values[self.inputs[1]]] -= 1
        gradients[self.inputs[0]] = gradient / len(self.rows)


class Accuracy(Layer):
    bottoms = 2

    def forward(self, values):
        scores, labels = (values[name] for name in self.inputs)
        values[self.tops[0]] = float((scores.argmax(axis=1) == labels).mean())


KINDS = {kind.__name__: kind for kind in (Data, InnerProduct, ReLU, SoftmaxWithLoss, Accuracy)}
