//! Finds files that import each other.
//!
//! What a file imports: what the paths in its `use` lines lead to, and every other path in its code that
//! begins with `crate`, `super` or `self`. A path is followed to the file in which its item is written, so
//! that a name which a `mod.rs` hands on with `use` counts for the file behind it. A path to a module
//! counts for the module's file. `use super::*` counts for the parent; what came in by it is not told apart.
//!
//! A module and what lies in it are let be: a `mod.rs` has the parts that it is made of by their names, and
//! the parts work on what it declares. That is one thing in several files. Two files beside each other, or in
//! different rooms, are two things, and of those one has to be there without the other.
//!
//! The tests at the end of a file (`mod tests { … }`) are let be too: they may use what is built on it.

use super::source::{File, Word, words};
use std::collections::{BTreeMap, BTreeSet};

/// A module by the names on the way to it. The first is the path of its crate's root file.
type Module = Vec<String>;

/// What a `use` line brings into a module under a name; `*` for all that is there.
struct Import {
    name: String,
    path: Vec<String>,
}

/// A place in which a path stands: the module, the path, and the byte in the file.
struct Mention {
    module: Module,
    path: Vec<String>,
    start: usize,
}

/// All modules of all crates.
#[derive(Default)]
struct Tree {
    /// Which of the files each is written in.
    files: BTreeMap<Module, usize>,
    imports: BTreeMap<Module, Vec<Import>>,
    mentions: Vec<(usize, Mention)>,
}

pub fn circles(files: &[File]) -> Vec<String> {
    let mut tree = Tree::default();
    for (index, file) in files.iter().enumerate().filter(|(_, file)| is_root(&file.path)) {
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        tree.read(files, index, vec![file.path.clone()], directory.to_owned());
    }
    let mut imported = BTreeMap::new();
    for (from, mention) in &tree.mentions {
        let mut targets = BTreeSet::new();
        tree.follow(&mention.module, &mention.path, 0, &mut targets);
        for to in targets.iter().filter_map(|module| tree.files.get(module)) {
            imported.entry((*from, *to)).or_insert(mention.start);
        }
    }
    let parts = tree.parts();
    let is_circle = |pair: &(usize, usize)| {
        let (from, to) = *pair;
        from < to && imported.contains_key(&(to, from)) && !parts.contains(pair)
    };
    let found = imported.iter().filter(|(pair, _)| is_circle(pair));
    found
        .map(|(&(from, to), &start)| {
            let back = files[to].line_at(imported[&(to, from)]);
            files[from]
                .complaint(start, &format!("and {}:{back} import each other", files[to].path))
        })
        .collect()
}

/// Where Cargo looks for the root of a crate.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["src", file] => file == "lib.rs",
        ["tests" | "benches" | "examples", _] | ["fuzz", "fuzz_targets", _] => true,
        ["tests" | "benches" | "examples", _, file] => file == "main.rs",
        _ => false,
    }
}

impl Tree {
    /// Reads a module's file, and those of the modules in it, which lie in `directory`.
    fn read(&mut self, files: &[File], index: usize, module: Module, directory: String) {
        if self.files.insert(module.clone(), index).is_some() {
            return;
        }
        let code = &files[index].code;
        let all = words(code);
        // The modules whose braces are open, each with the depth outside of it.
        let mut inside: Vec<(String, usize)> = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        let mut next = 0;
        while let Some(word) = all.get(next) {
            for c in code[at..word.start].chars() {
                match c {
                    '{' => depth += 1,
                    '}' => {
                        depth -= 1;
                        inside.retain(|(_, outside)| *outside < depth);
                    }
                    _ => {}
                }
            }
            at = word.start;
            let here = || module.iter().cloned().chain(inside.iter().map(|(name, _)| name.clone()));
            let mentions = |path| Mention { module: here().collect(), path, start: word.start };
            match word.text {
                "mod" if all.get(next + 1).is_some() => {
                    let name = all[next + 1];
                    match after(code, name).chars().next() {
                        Some('{') if name.text == "tests" => break,
                        Some('{') => {
                            let (child, parent) = (here().chain([name.text.to_owned()]), index);
                            self.files.insert(child.collect(), parent);
                            inside.push((name.text.to_owned(), depth));
                        }
                        Some(';') => {
                            let child: Module = here().chain([name.text.to_owned()]).collect();
                            let inner: String =
                                inside.iter().map(|(n, _)| format!("/{n}")).collect();
                            let directory = format!("{directory}{inner}");
                            self.read_child(files, &files[index], word.start, child, &directory);
                        }
                        _ => {}
                    }
                }
                "use" if !after(code, *word).starts_with('<') => {
                    let end = code[at..].find(';').map_or(code.len(), |n| at + n);
                    let mut all_imports = Vec::new();
                    expand(&code[at + "use".len()..end], &[], &mut all_imports);
                    for import in &all_imports {
                        self.mentions.push((index, mentions(import.path.clone())));
                    }
                    self.imports.entry(here().collect()).or_default().extend(all_imports);
                    while all.get(next + 1).is_some_and(|word| word.start < end) {
                        next += 1;
                    }
                    at = end;
                }
                "crate" | "super" | "self" if after(code, *word).starts_with("::") => {
                    let path = path_from(code, &all[next..]);
                    next += path.len() - 1;
                    self.mentions.push((index, mentions(path)));
                }
                _ => {}
            }
            next += 1;
        }
    }

    fn read_child(
        &mut self,
        files: &[File],
        parent: &File,
        start: usize,
        child: Module,
        directory: &str,
    ) {
        let name = child.last().map_or("", |name| name);
        let own = match path_attribute(&parent.text, parent.line_at(start)) {
            Some(path) => {
                let beside = parent.path.rsplit_once('/').map_or("", |(directory, _)| directory);
                vec![plain(&format!("{beside}/{path}"))]
            }
            None => vec![format!("{directory}/{name}.rs"), format!("{directory}/{name}/mod.rs")],
        };
        let Some(index) = files.iter().position(|file| own.contains(&file.path)) else {
            return; // the compiler says so
        };
        let path = &files[index].path;
        let directory = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs"));
        self.read(files, index, child, directory.unwrap_or_default().to_owned());
    }

    /// Finds the modules in whose files the item at the end of a path is written: none for one of another
    /// crate, several where a name is another one on each system.
    fn follow(
        &self,
        from: &[String],
        path: &[String],
        steps: usize,
        targets: &mut BTreeSet<Module>,
    ) {
        const MOST: usize = 16; // a name that leads to itself
        if steps > MOST {
            return;
        }
        let mut module = from.to_vec();
        for (index, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" => module.truncate(1),
                "self" | "*" => {}
                "super" => drop(module.pop()),
                name => {
                    let child: Module = module.iter().cloned().chain([name.to_owned()]).collect();
                    if self.files.contains_key(&child) {
                        module = child;
                        continue;
                    }
                    let rest = &path[index + 1..];
                    let imports = self.imports.get(&module).map_or(&[][..], |imports| imports);
                    let is_itself = |i: &&Import| module == from && i.path == path;
                    let mut is_handed_on = false;
                    for import in imports.iter().filter(|i| i.name == name && !is_itself(i)) {
                        let path: Vec<String> = import.path.iter().chain(rest).cloned().collect();
                        self.follow(&module, &path, steps + 1, targets);
                        is_handed_on = true;
                    }
                    // A path that begins with what is not declared here begins in another crate.
                    if !is_handed_on && index > 0 {
                        targets.insert(module);
                    }
                    return;
                }
            }
        }
        targets.insert(module);
    }

    /// Pairs of files of which one holds a module that the other's lies in, both ways round.
    fn parts(&self) -> BTreeSet<(usize, usize)> {
        let mut pairs = BTreeSet::new();
        for (module, inner) in &self.files {
            for len in 1..module.len() {
                if let Some(outer) = self.files.get(&module[..len]) {
                    pairs.extend([(*inner, *outer), (*outer, *inner)]);
                }
            }
        }
        pairs
    }
}

/// The paths of a `use` line: `a::{b, c::d as e}` has two.
fn expand(tree: &str, before: &[String], imports: &mut Vec<Import>) {
    let tree = tree.trim();
    let (path, group) = match tree.split_once('{') {
        Some((path, group)) => (path, group.rsplit_once('}').map(|(inside, _)| inside)),
        None => (tree, None),
    };
    let (path, alias) = path.split_once(" as ").map_or((path, None), |(p, a)| (p, Some(a.trim())));
    let segments = path.split("::").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned);
    let path: Vec<String> = before.iter().cloned().chain(segments).collect();
    let Some(group) = group else {
        if let Some(last) = path.iter().rev().find(|name| *name != "self") {
            imports.push(Import { name: alias.unwrap_or(last).to_owned(), path });
        }
        return;
    };
    let mut depth = 0;
    let is_comma = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    for part in group.split(is_comma) {
        expand(part, &path, imports);
    }
}

/// The words that `::` joins to the first.
fn path_from(code: &str, words: &[Word<'_>]) -> Vec<String> {
    let joined = words.windows(2).take_while(|pair| {
        let between = &code[pair[0].start + pair[0].text.len()..pair[1].start];
        between.trim() == "::"
    });
    let rest = joined.map(|pair| pair[1].text.to_owned());
    words.first().map(|first| first.text.to_owned()).into_iter().chain(rest).collect()
}

/// The file that an attribute on the line above this one names.
fn path_attribute(text: &str, line: usize) -> Option<&str> {
    let above = text.lines().nth(line.checked_sub(2)?)?;
    above.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")
}

/// The path without `..` in it.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn after<'a>(code: &'a str, word: Word<'_>) -> &'a str {
    code[word.start + word.text.len()..].trim_start()
}
