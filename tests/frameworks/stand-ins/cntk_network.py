"""Networks in BrainScript: inputs, dense layers, a criterion and an evaluation."""

import re

import numpy

from cntk_config import Failure, split

TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?)|([A-Za-z_]\w*)|([(){}:,=*/]))")


def parse(text):
    """The expression as a tree: a number, a name, ("call", name, arguments, named), ("list", …)."""
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            raise Failure(f"BrainScript: cannot read {text[at:].split(chr(10))[0].strip()!r}")
        tokens.append(found.group(0).strip())
        at = found.end()
    tree, rest = sequence(tokens)
    if rest:
        raise Failure(f"BrainScript: unexpected {rest[0]!r} in {text!r}")
    return tree


def sequence(tokens):
    first, tokens = product(tokens)
    items = [first]
    while tokens and tokens[0] == ":":
        item, tokens = product(tokens[1:])
        items.append(item)
    return (first if len(items) == 1 else ("list", items)), tokens


def product(tokens):
    left, tokens = primary(tokens)
    while tokens and tokens[0] in "*/":
        sign = tokens[0]
        right, tokens = primary(tokens[1:])
        left = (sign, left, right)
    return left, tokens


def primary(tokens):
    if not tokens:
        raise Failure("BrainScript: an expression is cut off")
    word, tokens = tokens[0], tokens[1:]
    if word == "(":
        inner, tokens = sequence(tokens)
        return inner, closed(tokens, ")")
    if re.match(r"\d", word):
        return float(word), tokens
    if not re.match(r"\w", word):
        raise Failure(f"BrainScript: unexpected {word!r}")
    if tokens and tokens[0] in "({":
        end = ")" if tokens[0] == "(" else "}"
        tokens, plain, named = tokens[1:], [], {}
        while tokens and tokens[0] != end:
            if len(tokens) > 1 and tokens[1] == "=":
                named[tokens[0]], tokens = sequence(tokens[2:])
            else:
                value, tokens = sequence(tokens)
                plain.append(value)
            if tokens and tokens[0] == ",":
                tokens = tokens[1:]
        return ("call", word, plain, named), closed(tokens, end)
    return word, tokens


def closed(tokens, end):
    if not tokens or tokens[0] != end:
        raise Failure(f"BrainScript: {end!r} is missing")
    return tokens[1:]


ACTIVATIONS = {
    "ReLU": (lambda x: numpy.maximum(x, 0), lambda x, y: x > 0),
    "Sigmoid": (lambda x: 1 / (1 + numpy.exp(-x)), lambda x, y: y * (1 - y)),
    "Tanh": (numpy.tanh, lambda x, y: 1 - y * y),
    "Identity": (lambda x: x, lambda x, y: numpy.ones_like(x)),
}

ROLES = ("featureNodes", "labelNodes", "criterionNodes", "evaluationNodes", "outputNodes")


class Network:
    """A chain of dense layers over one input, with a softmax."""

    def __init__(self, text):
        if not text.startswith(("{", "[")):
            raise Failure("BrainScriptNetworkBuilder must be a section")
        self.trees = {name: parse(value) for name, value in split(text[1:-1])}
        roles = {role: self.name_of(role) for role in ROLES if role in self.trees}
        for role in ROLES[:4]:
            if role not in roles:
                raise Failure(f"BrainScriptNetworkBuilder: {role} is missing")
        self.features, self.labels = roles["featureNodes"], roles["labelNodes"]
        self.criterion, self.evaluation = roles["criterionNodes"], roles["evaluationNodes"]
        self.inputs = {name: self.input(name) for name in (self.features, self.labels)}
        output = self.scores_of(self.criterion, "CrossEntropyWithSoftmax")
        if self.scores_of(self.evaluation, "ClassificationError") != output:
            raise Failure("criterion and evaluation must be of the same output")
        self.scale, self.layers = 1.0, []
        self.flatten(self.trees.get(output, output))
        self.make_weights()

    def name_of(self, role):
        value = self.trees[role]
        if not isinstance(value, str) or value not in self.trees:
            raise Failure(f"{role} must name one node of the network")
        return value

    def call(self, tree, name):
        if not isinstance(tree, tuple) or tree[:2] != ("call", name):
            raise Failure(f"expected {name} and not {tree!r}")
        return tree[2], tree[3]

    def number(self, tree):
        tree = self.trees.get(tree, tree) if isinstance(tree, str) else tree
        if not isinstance(tree, float):
            raise Failure(f"{tree!r} is no number")
        return tree

    def input(self, name):
        plain, named = self.call(self.trees[name], "Input")
        if len(plain) != 1 or named:
            raise Failure(f"{name}: Input takes a dimension")
        return int(self.number(plain[0]))

    def scores_of(self, node, function):
        plain, named = self.call(self.trees[node], function)
        if len(plain) != 2 or named or plain[0] != self.labels:
            raise Failure(f"{node}: {function} takes the labels and an output")
        return plain[1]

    def flatten(self, tree):
        """The layers of an output, from the features on."""
        if isinstance(tree, str) and tree != self.features:
            if tree not in self.trees:
                raise Failure(f"BrainScript: nothing is named {tree}")
            tree = self.trees[tree]
        if tree == self.features:
            return
        if not isinstance(tree, tuple):
            raise Failure(f"BrainScript: {tree!r} is no layer")
        if tree[0] in "*/":
            self.flatten(tree[1])
            if self.layers:
                raise Failure("only features can be scaled in this stand-in")
            factor = self.number(tree[2])
            self.scale = self.scale * factor if tree[0] == "*" else self.scale / factor
            return
        if tree[0] != "call" or len(tree[2]) != 1:
            raise Failure(f"BrainScript: {tree!r} is not supported by this stand-in")
        self.flatten(tree[2][0])
        self.add(self.trees.get(tree[1], tree[1]))

    def add(self, tree):
        """Applies a model: a layer, or a sequence of them."""
        if isinstance(tree, tuple) and tree[:2] == ("call", "Sequential"):
            if len(tree[2]) != 1 or tree[3]:
                raise Failure("Sequential takes layers with ':' between them")
            inner = tree[2][0]
            for layer in inner[1] if isinstance(inner, tuple) and inner[0] == "list" else [inner]:
                self.add(layer)
            return
        if not isinstance(tree, tuple) or tree[0] != "call" or tree[1] not in ("DenseLayer", "LinearLayer"):
            raise Failure(f"no layer {tree!r} in this stand-in, only DenseLayer, LinearLayer and Sequential")
        _, kind, plain, named = tree
        activation = named.pop("activation", "Identity") if kind == "DenseLayer" else "Identity"
        if len(plain) != 1 or named or activation not in ACTIVATIONS:
            raise Failure(f"{kind} takes a dimension and an activation of {', '.join(ACTIVATIONS)}")
        self.layers.append((int(self.number(plain[0])), ACTIVATIONS[activation]))

    def make_weights(self):
        if not self.layers or self.layers[-1][0] != self.inputs[self.labels]:
            raise Failure("the output must have as many values as the labels")
        random, size, self.weights = numpy.random.RandomState(1), self.inputs[self.features], []
        for width, _ in self.layers:
            edge = (6 / (size + width)) ** 0.5
            self.weights += [random.uniform(-edge, edge, (size, width)), numpy.zeros(width)]
            size = width

    def take(self, weights):
        if [weight.shape for weight in weights] != [weight.shape for weight in self.weights]:
            raise Failure("the model is of another network")
        self.weights = weights

    def gradients(self, data):
        """The sums over the rows: of the criterion, of the errors, and of the gradients."""
        seen, sums = [data[self.features] * self.scale], []
        for index, (_, (function, _)) in enumerate(self.layers):
            sums.append(seen[-1] @ self.weights[2 * index] + self.weights[2 * index + 1])
            seen.append(function(sums[-1]))
        scores, labels = seen[-1], data[self.labels]
        raised = numpy.exp(scores - scores.max(axis=1, keepdims=True)) if len(scores) else scores
        guess = raised / raised.sum(axis=1, keepdims=True)
        loss = float(-(labels * numpy.log(guess + 1e-30)).sum())
        wrong = float((scores.argmax(axis=1) != labels.argmax(axis=1)).sum()) if len(scores) else 0.0
        above, gradients = guess - labels, []
        for index in reversed(range(len(self.layers))):
            slope = self.layers[index][1][1](sums[index], seen[index + 1])
            above = above * slope
            gradients = [seen[index].T @ above, above.sum(axis=0)] + gradients
            above = above @ self.weights[2 * index].T
        return loss, wrong, gradients
