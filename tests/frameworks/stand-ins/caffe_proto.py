"""Caffe's files: protocol buffers as text (solvers, nets) and as bytes (images, snapshots)."""

import re

import numpy

TEXT, INTEGER, NUMBER, FLAG = "text", "integer", "number", "flag"


def choice(*values):
    return values


# The members of Caffe's messages, as in caffe.proto; in a list where they may be repeated, the name
# of another message where they are one.
MESSAGES = {
    "SolverParameter": {
        "net": TEXT, "net_param": "NetParameter", "train_net": TEXT, "test_net": [TEXT],
        "test_iter": [INTEGER], "test_interval": INTEGER, "test_compute_loss": FLAG,
        "test_initialization": FLAG, "base_lr": NUMBER, "display": INTEGER, "average_loss": INTEGER,
        "max_iter": INTEGER, "iter_size": INTEGER, "lr_policy": TEXT, "gamma": NUMBER, "power": NUMBER,
        "momentum": NUMBER, "weight_decay": NUMBER, "regularization_type": TEXT, "stepsize": INTEGER,
        "stepvalue": [INTEGER], "clip_gradients": NUMBER, "snapshot": INTEGER, "snapshot_prefix": TEXT,
        "snapshot_diff": FLAG, "snapshot_format": choice("HDF5", "BINARYPROTO"),
        "solver_mode": choice("CPU", "GPU"), "device_id": INTEGER, "random_seed": INTEGER, "type": TEXT,
        "delta": NUMBER, "momentum2": NUMBER, "rms_decay": NUMBER, "debug_info": FLAG,
        "snapshot_after_train": FLAG, "layer_wise_reduce": FLAG, "weights": [TEXT],
        "solver_type": choice("SGD", "NESTEROV", "ADAGRAD", "RMSPROP", "ADADELTA", "ADAM"),
    },
    "NetParameter": {"name": TEXT, "layer": ["LayerParameter"], "force_backward": FLAG, "debug_info": FLAG},
    "LayerParameter": {
        "name": TEXT, "type": TEXT, "bottom": [TEXT], "top": [TEXT], "phase": choice("TRAIN", "TEST"),
        "loss_weight": [NUMBER], "param": ["ParamSpec"], "include": ["NetStateRule"],
        "exclude": ["NetStateRule"], "transform_param": "TransformationParameter",
        "data_param": "DataParameter", "inner_product_param": "InnerProductParameter",
        "relu_param": "ReLUParameter", "accuracy_param": "AccuracyParameter",
    },
    "ParamSpec": {"name": TEXT, "lr_mult": NUMBER, "decay_mult": NUMBER},
    "NetStateRule": {"phase": choice("TRAIN", "TEST"), "min_level": INTEGER, "max_level": INTEGER,
                     "stage": [TEXT], "not_stage": [TEXT]},
    "TransformationParameter": {"scale": NUMBER, "mirror": FLAG, "crop_size": INTEGER, "mean_file": TEXT,
                                "mean_value": [NUMBER]},
    "DataParameter": {"source": TEXT, "batch_size": INTEGER, "backend": choice("LEVELDB", "LMDB"),
                      "rand_skip": INTEGER, "prefetch": INTEGER},
    "InnerProductParameter": {"num_output": INTEGER, "bias_term": FLAG, "weight_filler": "FillerParameter",
                              "bias_filler": "FillerParameter", "axis": INTEGER},
    "FillerParameter": {"type": TEXT, "value": NUMBER, "min": NUMBER, "max": NUMBER, "mean": NUMBER,
                        "std": NUMBER},
    "ReLUParameter": {"negative_slope": NUMBER},
    "AccuracyParameter": {"top_k": INTEGER, "axis": INTEGER},
}

TOKEN = re.compile(r"""(?P<space>[\s,;]+|\#[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
                       |(?P<word>[-+.\w]+)|(?P<sign>[:{}<>\[\]])""", re.VERBOSE)


class ParseError(Exception):
    """What is wrong, after the line and the column."""


class Reader:
    """The tokens of a text, with their places."""

    def __init__(self, text):
        self.tokens, at = [], 0
        while at < len(text):
            found = TOKEN.match(text, at)
            line = text.count("\n", 0, at) + 1
            place = f"{line}:{at - text.rfind(chr(10), 0, at)}"
            if not found:
                raise ParseError(f"{place}: Invalid token: {text[at]!r}")
            if found.lastgroup != "space":
                self.tokens.append((found.lastgroup, found.group(), place))
            at = found.end()
        self.tokens.append(("end", "", "end"))
        self.at = 0

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def takes(self, sign):
        if self.tokens[self.at][1] == sign and self.tokens[self.at][0] == "sign":
            self.at += 1
            return True
        return False

    def message(self, name, end):
        members, found = MESSAGES[name], {}
        while True:
            kind, word, place = self.next()
            if (kind, word) == end:
                return found
            if kind != "word":
                raise ParseError(f"{place}: Expected identifier, got: {word}")
            if word not in members:
                raise ParseError(f'{place}: Message type "caffe.{name}" has no field named "{word}".')
            self.member(found, word, members[word], place, name)

    def member(self, found, word, kind, place, message):
        repeated = isinstance(kind, list)
        kind = kind[0] if repeated else kind
        colon = self.takes(":")
        many = repeated and colon and self.takes("[")
        while True:
            if isinstance(kind, str) and kind in MESSAGES:
                if not self.takes("{"):
                    raise ParseError(f'{place}: Expected "{{" after "{word}".')
                value = self.message(kind, ("sign", "}"))
            elif colon:
                value = self.scalar(kind, word)
            else:
                raise ParseError(f'{place}: Expected ":" after "{word}".')
            if repeated:
                found.setdefault(word, []).append(value)
            elif word in found:
                raise ParseError(f'{place}: Non-repeated field "{word}" of "caffe.{message}" is given twice.')
            else:
                found[word] = value
            if not many or self.takes("]"):
                return

    def scalar(self, kind, word):
        token, value, place = self.next()
        if kind == TEXT and token == "text":
            return re.sub(r"\\(.)", r"\1", value[1:-1])
        try:
            if kind == INTEGER and token == "word":
                return int(value, 0)
            if kind == NUMBER and token == "word":
                return float(value.rstrip("f"))
        except ValueError:
            pass
        if kind == FLAG and value in ("true", "false", "0", "1", "t", "f"):
            return value in ("true", "t", "1")
        if isinstance(kind, tuple) and token == "word":
            if value in kind:
                return value
            raise ParseError(f'{place}: Unknown enumeration value of "{value}" for field "{word}".')
        raise ParseError(f'{place}: Invalid value for field "{word}": {value}')


def parse(message, text):
    """The members of a message written as text."""
    return Reader(text).message(message, ("end", ""))


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, value):
    """A member as bytes: an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """The members of a message given as bytes: number and value of each."""
    at = 0

    def number():
        nonlocal at
        result = shift = 0
        while True:
            if at >= len(data):
                raise ValueError("it is cut off")
            byte = data[at]
            at += 1
            result |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return result

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length = number()
        if length is None or at + length > len(data):
            raise ValueError("it is no protocol buffer")
        yield key >> 3, bytes(data[at : at + length])
        at += length


def read_datum(data):
    """An image as `Datum`: its values, flat, and its label."""
    found = dict(fields(data))
    if 4 not in found:
        raise ValueError("a Datum without data")
    return numpy.frombuffer(found[4], dtype=numpy.uint8).astype(float), found.get(5, 0)


def blob(values):
    shape = b"".join(varint(size) for size in values.shape)
    return field(5, values.astype("<f4").tobytes()) + field(7, field(1, shape))


def read_blob(data):
    found = dict(fields(data))
    shape, sizes, at = found.get(7, b""), [], 0
    for _, packed in fields(shape):
        size = shift = 0
        for byte in packed:
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                sizes.append(size)
                size = shift = 0
    return numpy.frombuffer(found.get(5, b""), dtype="<f4").astype(float).reshape(sizes)


def write_model(path, name, layers):
    """A NetParameter with the blobs of its layers: name, type and blobs of each."""
    content = field(1, name)
    for layer, kind, blobs in layers:
        body = field(1, layer) + field(2, kind) + b"".join(field(7, blob(each)) for each in blobs)
        content += field(100, body)
    with open(path, "wb") as file:
        file.write(content)


def read_model(path):
    """The blobs of each layer of a NetParameter, by the layer's name."""
    with open(path, "rb") as file:
        data = file.read()
    layers = {}
    for number, value in fields(data):
        if number == 100:
            members = list(fields(value))
            name = b"".join(text for key, text in members if key == 1).decode()
            layers[name] = [read_blob(each) for key, each in members if key == 7]
    return layers


def write_state(path, iteration, model, history):
    content = field(1, iteration) + field(2, model) + b"".join(field(3, blob(each)) for each in history)
    with open(path, "wb") as file:
        file.write(content)


def read_state(path):
    """The iteration, the path of the model, and the history of a SolverState."""
    with open(path, "rb") as file:
        members = list(fields(file.read()))
    single = dict(members)
    if 2 not in single:
        raise ValueError("it names no model")
    return single.get(1, 0), single[2].decode(), [read_blob(each) for key, each in members if key == 3]
