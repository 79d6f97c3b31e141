//! Sentences in lines that fit a terminal. What a person copies, commands and addresses, is never
//! broken.

/// The narrowest terminal that people use.
const WIDTH: usize = 80;

/// `text` behind `head`, and its further lines below its beginning. Words are kept whole.
pub(crate) fn fold(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut folded = head.to_owned();
    let mut at = indent;
    for (index, word) in text.split(' ').enumerate() {
        let chars = word.chars().count();
        if index > 0 && at + 1 + chars > WIDTH && at > indent {
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', indent));
            at = indent;
        } else if index > 0 {
            folded.push(' ');
            at += 1;
        }
        folded += word;
        at += chars;
    }
    folded.truncate(folded.trim_end().len());
    folded.push('\n');
    folded
}

/// As [`fold`], for a line that may be a command: then it stays whole, and its remark, which
/// PowerShell takes for one too, stands below it.
pub(crate) fn instruction(head: &str, line: &str) -> String {
    let (command, remark) = match line.split_once("   # ") {
        Some((command, remark)) => (command, Some(remark)),
        None => (line, None),
    };
    if !is_command(command) {
        return fold(head, line);
    }
    let mut text = format!("{head}{command}\n");
    if let Some(remark) = remark {
        let indent = " ".repeat(head.chars().count());
        let below = fold(&format!("{indent}# "), remark);
        // Every line of a remark begins as one.
        text += &below.replace(&format!("\n{indent}  "), &format!("\n{indent}# "));
    }
    text
}

/// A cmdlet (`Verb-Noun`), a quoted list that is piped into one, or one of our own commands.
fn is_command(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    let is_cmdlet = first.split_once('-').is_some_and(|(verb, noun)| {
        verb.starts_with(char::is_uppercase) && noun.starts_with(char::is_uppercase)
    });
    is_cmdlet || first.starts_with('\'') || first == "postrider"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_lines_fit() {
        let text = fold("fix       ", &"four ".repeat(30));
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("          four"))
        );
        assert_eq!(text.matches("four").count(), 30);
        let url = format!("https://{}", "x".repeat(100));
        assert_eq!(fold("  ", &url), format!("  {url}\n"));
        assert_eq!(
            fold("  ", &format!("see {url}")),
            format!("  see\n  {url}\n")
        );
    }

    #[test]
    fn a_command_stays_whole_and_its_remark_stands_below() {
        let command = format!("Get-Mailbox -Identity '{}'", "x".repeat(100));
        let remark = "an error: this is it ".repeat(6);
        let text = instruction("fix  ", &format!("{command}   # {}", remark.trim()));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(format!("fix  {command}").as_str()));
        assert!(lines.clone().count() > 1);
        assert!(
            lines.all(|line| line.starts_with("     # an") || line.starts_with("     # ")),
            "{text}"
        );
        assert_eq!(
            instruction("", "check the name, and wait"),
            "check the name, and wait\n"
        );
    }
}
