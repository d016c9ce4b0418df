//! The house's rules over the real tree, one test each. The rules themselves, with their tests on
//! bad samples, are in `src/`.

use corelith_tidy::finding::expect_none;
use corelith_tidy::tree::Tree;
use corelith_tidy::{
    commits, dependencies, edges, lengths, licences, links, names, openings, planted, rules,
    tables, units, unsafety, words,
};

fn tree() -> Tree {
    Tree::load().expect("the repository can be read")
}

#[test]
fn crates_depend_only_on_what_they_may() {
    expect_none(&edges::check(&tree()), edges::REMEDY);
}

#[test]
fn the_table_of_rooms_has_no_cycle() {
    assert_eq!(edges::cycle(rules::ROOMS), None);
}

#[test]
fn every_dependency_has_its_reason() {
    expect_none(&dependencies::check(&tree()), dependencies::REMEDY);
}

#[test]
fn every_licence_is_allowed_and_needed() {
    let tree = tree();
    let licences = licences::of_all_dependencies(&tree).expect("cargo tree lists the packages");
    assert!(
        licences.len() > rules::ROOMS.len(),
        "cargo tree listed too little"
    );
    expect_none(&licences::check(&tree, &licences), licences::REMEDY);
}

#[test]
fn every_source_is_the_registry() {
    expect_none(&licences::check_sources(&tree()), licences::REMEDY);
}

#[test]
fn every_file_says_what_it_is() {
    expect_none(&openings::check(&tree()), openings::REMEDY);
}

#[test]
fn planted_bugs_do_not_ship() {
    expect_none(&planted::check(&tree()), planted::REMEDY);
}

#[test]
fn files_are_short() {
    let tree = tree();
    for (count, path) in lengths::long_files(&tree) {
        println!("{count} production lines: {path}");
    }
    expect_none(&lengths::check(&tree), lengths::REMEDY);
}

#[test]
fn names_say_something() {
    expect_none(&names::check(&tree()), names::REMEDY);
}

#[test]
fn the_top_level_holds_the_house_and_nothing_else() {
    expect_none(&names::check_top_level(&tree()), names::TOP_LEVEL_REMEDY);
}

#[test]
fn unsafe_stands_where_it_may() {
    expect_none(&unsafety::check(&tree()), unsafety::REMEDY);
}

#[test]
fn the_tree_holds_no_banned_word() {
    expect_none(&words::check_words(&tree()), words::WORDS_REMEDY);
}

#[test]
fn every_word_exception_is_needed() {
    let tree = tree();
    for exception in rules::WORD_EXCEPTIONS {
        let file = tree.file(exception.path).map_or("", |file| &file.text);
        assert!(
            file.to_lowercase().contains(exception.word),
            "{} no longer says `{}`: remove the exception from ci/tidy/src/rules.rs",
            exception.path,
            exception.word
        );
    }
}

#[test]
fn no_marker_stands_for_work() {
    expect_none(&words::check_markers(&tree()), words::MARKERS_REMEDY);
}

#[test]
fn the_tree_knows_no_machine() {
    expect_none(&words::check_places(&tree()), words::PLACES_REMEDY);
}

#[test]
fn sources_are_ascii() {
    expect_none(&words::check_ascii(&tree()), words::ASCII_REMEDY);
}

#[test]
fn links_lead_somewhere() {
    expect_none(&links::check(&tree()), links::REMEDY);
}

#[test]
fn numbers_have_units() {
    expect_none(&units::check(&tree()), units::REMEDY);
}

#[test]
fn format_tables_say_what_the_code_says() {
    expect_none(&tables::check(&tree()), tables::REMEDY);
}

#[test]
fn commits_have_the_house_form() {
    match commits::history(&tree()) {
        Some(history) => expect_none(&commits::check(&history), commits::REMEDY),
        None => println!("no git history here: nothing to check"),
    }
}
