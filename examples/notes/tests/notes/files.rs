//! Exports and imports: what is in the file, and which files there are.

use super::place::Notes;
use std::fs;
use std::path::Path;

#[test]
fn what_is_exported_can_be_imported() {
    let (notes, others) = (Notes::new(), Notes::new());
    let texts = ["milk", "", "a\nb", "back\\slash", "\\n is no line end", "Käse"];
    for text in texts {
        notes.says(&["add", text]);
    }
    let file = notes.path("exported");
    let file = file.to_str().unwrap();
    notes.says(&["export", file]);
    assert_eq!(notes.says(&["export"]), fs::read_to_string(file).unwrap().replace("\r\n", "\n"));
    assert_eq!(others.says(&["import", file]), "6\n");
    assert_eq!(others.says(&["list"]), notes.says(&["list"]));
    // Many of them.
    let many: String = (0..20_000).map(|number| format!("note {number}\n")).collect();
    fs::write(file, &many).unwrap();
    assert_eq!(others.says(&["import", file]), "20000\n");
    others.says(&["export", file]);
    assert!(fs::read_to_string(file).unwrap().ends_with(&many));
    assert!(!Path::new(file).with_extension("part").exists());
}

/// Each of them ends as no line can, or holds what an editor would take for the end of one.
#[test]
fn a_note_keeps_its_line_ends_through_a_file() {
    let (notes, others) = (Notes::new(), Notes::new());
    let texts = ["ends in CR\r", "\r", "\r\n", "a\r\nb", "\\r is no CR", "\\\r", "\n\r", "\\"];
    for text in texts {
        notes.says(&["add", text]);
    }
    let file = notes.path("exported");
    let file = file.to_str().unwrap();
    notes.says(&["export", file]);
    assert_eq!(others.says(&["import", file]), format!("{}\n", texts.len()));
    let client = msgpipe::Client::connect(others.name.as_str()).unwrap().with_method(3);
    for (text, number) in texts.into_iter().zip(1..) {
        assert_eq!(client.call(number.to_string()).unwrap(), text, "{text:?}");
    }
    // Lines as an editor on Windows ends them.
    fs::write(file, "milk\r\nbread\r\n").unwrap();
    assert_eq!(others.says(&["import", file]), "2\n");
    assert!(others.says(&["list"]).ends_with("\tmilk\n10\tbread\n"));
}

/// Files beside the export are not its own, whatever their names.
#[test]
fn an_export_touches_no_other_file() {
    let notes = Notes::new();
    notes.says(&["add", "milk"]);
    let files = notes.path("files");
    let directory = files.join("directory.txt");
    fs::create_dir_all(directory.join("full")).unwrap();
    for mine in ["exported.part", "directory.part", "exported.txt.part"] {
        fs::write(files.join(mine), "mine").unwrap();
    }
    let export = |file: &Path| notes.run(&["export", file.to_str().unwrap()]);
    assert!(export(&files.join("exported.txt")).0.success());
    let (status, _, complains) = export(&directory);
    assert!(!status.success() && complains.contains("directory.txt: "), "{complains}");
    let mut left: Vec<_> = fs::read_dir(&files)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let expected =
        ["directory.part", "directory.txt", "exported.part", "exported.txt", "exported.txt.part"];
    assert_eq!(left, expected);
    for mine in ["exported.part", "directory.part", "exported.txt.part"] {
        assert_eq!(fs::read_to_string(files.join(mine)).unwrap(), "mine", "{mine}");
    }
    assert_eq!(fs::read_to_string(files.join("exported.txt")).unwrap(), "milk\n");
}
