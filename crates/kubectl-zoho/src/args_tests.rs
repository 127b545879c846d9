//! The command line is consistent, and its help fits a terminal.

use clap::CommandFactory;

use super::*;

#[test]
fn help_offers_the_products_of_the_table() {
    let names: Vec<String> = Product::ALL.iter().map(ToString::to_string).collect();
    let command = Cli::command();
    let login = command.find_subcommand("login").expect("a command");
    let product = login.get_arguments().find(|argument| argument.get_id() == "product").expect("a flag");
    let offered: Vec<String> = product.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    assert_eq!(offered, names);
}

#[test]
fn command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_eighty_columns() {
    let mut cli = Cli::command();
    cli.build();
    let names: Vec<String> = cli.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut pages = vec![cli.render_help(), cli.render_long_help()];
    for name in names {
        let command = cli.find_subcommand_mut(&name).expect("it is listed");
        pages.extend([command.render_help(), command.render_long_help()]);
    }
    for page in pages {
        for line in page.to_string().lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
    }
}

#[test]
fn examples_and_lists_are_not_broken_in_a_second_way() {
    let cli = Cli::command();
    for command in cli.get_subcommands() {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
        }
    }
}

#[test]
fn no_flag_takes_a_secret() {
    for command in Cli::command().get_subcommands() {
        for flag in command.get_arguments() {
            let id = flag.get_id().as_str();
            let takes_secret = ["password", "refresh_token", "access_token", "client_secret", "code"].contains(&id);
            assert!(!takes_secret, "{} --{id}", command.get_name());
        }
    }
}

#[test]
fn ways_to_log_in_exclude_each_other() {
    let ways = ["--grant-code", "--browser", "--device", "--client-credentials"];
    for (number, one) in ways.into_iter().enumerate() {
        assert!(Cli::try_parse_from(["z", "login", "n", one]).is_ok(), "{one}");
        for other in &ways[number + 1..] {
            assert!(Cli::try_parse_from(["z", "login", "n", one, other]).is_err(), "{one} {other}");
        }
    }
}

#[test]
fn values_are_those_of_the_spec_in_any_case() {
    let cli = Cli::try_parse_from(["z", "login", "n", "--data-center", "eu", "--product", "patchmanagerplus"]).unwrap();
    let Command::Login(login) = cli.command else { panic!("login") };
    assert_eq!((login.data_center, login.product), (Some(DataCenter::EU), Some(Product::PatchManagerPlus)));
}
