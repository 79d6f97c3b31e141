"""Reads a PowerShell script from standard input and fails where its syntax is wrong.

The parser is tree-sitter's, which is independent of PowerShell's own and of this project.
"""

import sys

import tree_sitter
import tree_sitter_powershell

parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
script = sys.stdin.buffer.read()
nodes = [parser.parse(script).root_node]
wrong = []
commands = set()
while nodes:
    node = nodes.pop()
    if node.is_error or node.is_missing:
        line, column = node.start_point
        wrong.append(f"{line + 1}:{column + 1}: {node.type}: {node.text[:60]!r}")
    if node.type == "command_name":
        commands.add(node.text.decode())
    nodes.extend(node.children)
for line in wrong:
    print(line, file=sys.stderr)
# What the script calls, for the test to compare with what it may call.
print("\n".join(sorted(commands)))
sys.exit(1 if wrong else 0)
