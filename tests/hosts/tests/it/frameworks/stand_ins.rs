//! The stand-ins for `caffe` and `cntk` take what the real programs take and fail on anything that
//! is wrong, each with the words that a user would look for.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::site::checkout;

/// A folder with a recipe's files and its data.
struct Folder {
    program: std::path::PathBuf,
    folder: TempDir,
}

impl Folder {
    fn new(program: &str, recipe: &str, convert: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let recipe = checkout().join("docs/recipes").join(recipe);
        for entry in fs::read_dir(&recipe).expect("a recipe").flatten() {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
        }
        let converted = Command::new("/usr/bin/python3")
            .arg(recipe.join("convert.py"))
            .args(convert)
            .current_dir(folder.path())
            .output()
            .expect("Debian's Python");
        assert!(converted.status.success(), "{converted:?}");
        fs::create_dir_all(folder.path().join("snapshots")).expect("a folder");
        let program = checkout().join("tests/frameworks/stand-ins").join(program);
        Self { program, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces text in a file, which must be there; the file becomes another one.
    fn with(&self, file: &str, from: &str, to: &str, name: &str) {
        let text = fs::read_to_string(self.path().join(file)).expect("a file");
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(self.path().join(name), text.replace(from, to)).expect("a file");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        // No core of those that end by SIGABRT.
        Command::new("sh")
            .args(["-c", "ulimit -c 0; exec \"$0\" \"$@\""])
            .arg(&self.program)
            .args(arguments)
            .current_dir(self.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("a stand-in")
    }

    /// Must fail, and say this.
    fn refuses(&self, arguments: &[&str], words: &str) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success(),
            "{arguments:?} was accepted\n{said}"
        );
        assert!(
            said.contains(words),
            "{arguments:?}: not {words:?} but\n{said}"
        );
        assert!(!said.contains("Traceback"), "{said}");
    }

    /// Must succeed; gives what it said.
    fn accepts(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}\n{said}");
        said
    }
}

#[test]
fn caffe_refuses_what_is_wrong() {
    let caffe = Folder::new("caffe", "caffe", &[]);
    let train = |solver: &str, words: &str| caffe.refuses(&["train", "-solver", solver], words);
    caffe.refuses(&[], "usage: caffe <command> <args>");
    caffe.refuses(&["train"], "Need a solver definition");
    caffe.refuses(
        &["learn", "-solver", "solver.prototxt"],
        "Unknown action: learn",
    );
    caffe.refuses(
        &["train", "-solve", "x"],
        "unknown command line flag 'solve'",
    );
    caffe.refuses(&["train", "-solver"], "is missing its argument");
    train("none.prototxt", "File not found: none.prototxt");
    caffe.refuses(
        &["train", "-solver", "solver.prototxt", "-gpu", "0"],
        "CPU-only Caffe",
    );
    let both = [
        "train",
        "-solver",
        "solver.prototxt",
        "-weights",
        "a",
        "-snapshot",
        "b",
    ];
    caffe.refuses(&both, "but not both");

    caffe.with("solver.prototxt", "base_lr", "base_rate", "wrong");
    train("wrong", "has no field named \"base_rate\"");
    caffe.with(
        "solver.prototxt",
        "max_iter: 3000",
        "max_iter: many",
        "wrong",
    );
    train("wrong", "Invalid value for field \"max_iter\"");
    caffe.with(
        "solver.prototxt",
        "solver_mode: CPU",
        "solver_mode: TPU",
        "wrong",
    );
    train("wrong", "Unknown enumeration value of \"TPU\"");
    caffe.with("solver.prototxt", "solver_mode: CPU", "", "wrong");
    train("wrong", "CPU-only Caffe");
    caffe.with("solver.prototxt", "\"inv\"", "\"sometimes\"", "wrong");
    train("wrong", "Unknown learning rate policy: sometimes");
    caffe.with(
        "solver.prototxt",
        "momentum: 0.9",
        "momentum: 0.9 momentum: 0.8",
        "wrong",
    );
    train("wrong", "is given twice");
    caffe.with(
        "solver.prototxt",
        "network.prototxt",
        "none.prototxt",
        "wrong",
    );
    train("wrong", "File not found: none.prototxt");
    caffe.with(
        "solver.prototxt",
        "snapshots/digits",
        "nowhere/digits",
        "wrong",
    );
    train("wrong", "Cannot write to snapshot prefix");

    caffe.with(
        "solver.prototxt",
        "network.prototxt",
        "wrong_net",
        "with_wrong_net",
    );
    let net = |from: &str, to: &str, words: &str| {
        caffe.with("network.prototxt", from, to, "wrong_net");
        train("with_wrong_net", words);
    };
    net(
        "num_output: 64",
        "num_outputs: 64",
        "has no field named \"num_outputs\"",
    );
    net(
        "type: \"ReLU\"",
        "type: \"Pooling\"",
        "no layers of type 'Pooling'",
    );
    net(
        "bottom: \"hidden\" top: \"scores\"",
        "bottom: \"hiden\" top: \"scores\"",
        "Unknown bottom blob 'hiden'",
    );
    net("\"train_lmdb\"", "\"other_lmdb\"", "other_lmdb");
    net("backend: LMDB", "backend: LEVELDB", "must be LMDB");
    net("num_output: 10", "num_output: 7", "a label of");
}

#[test]
fn caffe_goes_on_from_what_it_has_saved() {
    let caffe = Folder::new("caffe", "caffe", &[]);
    caffe.with(
        "solver.prototxt",
        "max_iter: 3000",
        "max_iter: 1000",
        "first",
    );
    caffe.accepts(&["train", "--solver=first"]);
    let state = "snapshots/digits_iter_1000.solverstate";
    let resumed = caffe.accepts(&["train", "-solver", "solver.prototxt", "-snapshot", state]);
    assert!(resumed.contains("Iteration 1000, Testing net"), "{resumed}");
    assert!(!resumed.contains("Iteration 0,"), "{resumed}");
    let model = "snapshots/digits_iter_3000.caffemodel";
    let tuned = caffe.accepts(&["train", "-solver", "first", "-weights", model]);
    let first = tuned
        .lines()
        .find(|line| line.contains("accuracy = "))
        .expect("a test");
    assert!(
        first.contains("accuracy = 0.9"),
        "it begins with the weights: {first}"
    );
    fs::write(caffe.path().join("damaged"), "no model").unwrap();
    let damaged = ["train", "-solver", "first", "-weights", "damaged"];
    caffe.refuses(&damaged, "Failed to parse NetParameter file: damaged");
}

#[test]
fn cntk_refuses_what_is_wrong() {
    let cntk = Folder::new("cntk", "cntk-brainscript", &["."]);
    let run = |file: &str, more: &[&str], words: &str| {
        let file = format!("configFile={file}");
        let mut arguments = vec![file.as_str(), "dataDir=.", "outputDir=out"];
        arguments.extend(more);
        cntk.refuses(&arguments, words);
    };
    cntk.refuses(&[], "there is no configFile");
    cntk.refuses(&["digits.cntk"], "is no NAME=VALUE");
    cntk.refuses(
        &["configFile=digits.cntk", "dataDir=."],
        "$outputDir$ has no value",
    );
    run(
        "none.cntk",
        &[],
        "cannot read the configuration file none.cntk",
    );
    run(
        "digits.cntk",
        &["learningRate=1"],
        "learningRate is neither a setting nor used",
    );
    run("digits.cntk", &["deviceId=0"], "there is no GPU");
    run(
        "digits.cntk",
        &["command=train"],
        "neither a setting nor used",
    );
    run(
        "digits.cntk",
        &["parallelTrain=perhaps"],
        "must be true or false",
    );
    let changed = |from: &str, to: &str, words: &str| {
        cntk.with("digits.cntk", from, to, "wrong.cntk");
        run("wrong.cntk", &[], words);
    };
    changed("maxEpochs", "maxEpoch", "no setting maxEpoch here");
    changed("= 30\n", "= many\n", "maxEpochs must be an integer");
    changed("0.5*20:0.1", "0.5*20:slow", "no schedule of numbers");
    changed(
        "action = \"train\"",
        "action = \"learn\"",
        "no action 'learn'",
    );
    changed("train.ctf", "none.ctf", "cannot open ./none.ctf");
    changed(
        "CNTKTextFormatReader",
        "UCIFastReader",
        "no reader UCIFastReader",
    );
    changed(
        "activation=ReLU",
        "activation=Relu",
        "an activation of ReLU",
    );
    changed("DenseLayer {64", "ConvolutionalLayer {64", "no layer");
    changed("out = model", "out = modell", "no layer 'modell'");
    changed("    criterionNodes = (ce)", "", "criterionNodes is missing");
    changed(
        "CrossEntropyWithSoftmax (labels",
        "CrossEntropyWithSoftmax (label",
        "takes the labels",
    );
    changed(
        "dim = 64",
        "dim = 63",
        "the reader says dim = 63, the network 64",
    );
    changed(
        "digits = 10",
        "digits = 11",
        "the reader says dim = 10, the network 11",
    );
    changed(
        "gradientBits = 32",
        "gradientBits = 1",
        "only gradientBits = 32",
    );
    changed("Sequential (", "Sequential ((", "too many");

    let data = fs::read_to_string(cntk.path().join("train.ctf")).unwrap();
    let bad = |text: &str, words: &str| {
        fs::write(cntk.path().join("train.ctf"), text).unwrap();
        run("digits.cntk", &[], words);
    };
    bad(
        &data.replacen("|features 0", "|features zero", 1),
        "has a value that is none",
    );
    bad(
        &data.replacen("|features 0 ", "|features ", 1),
        "line 1: features has 63 values",
    );
    bad(
        &data.replacen("|features", "|pixels", 1),
        "unknown input pixels",
    );
    bad("|labels 1 0 0 0 0 0 0 0 0 0\n", "not all of");
}
