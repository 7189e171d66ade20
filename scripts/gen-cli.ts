// Renders docs/reference/cli.md from the command line's own tree of commands, which is also what
// --help prints.
import type { Argument, Command, Option } from 'commander'
import { makeWholeProgram } from '../cli/src/main.ts'

const HEAD = `# The command line

<!-- Written by scripts/gen-cli.ts from cli/src/commands: change those, then npm run gen. -->

In a clone the program is \`./howdah\`. Data goes to standard output, progress and errors to
standard error. On a terminal progress is redrawn; without one it is a line per event. Names and
ids work alike wherever a resource is named.

`

const EXIT_CODES = `
## Exit codes

| code | means |
|---|---|
| 0 | done |
| 1 | failure; for \`status\` and \`doctor\`: something is not well |
| 2 | usage: the request cannot work as it is |
| 3 | no valid token, or not allowed |
| 4 | not found |
| 5 | conflict with the present state |
| 6 | no answer in time |
| 7 | the operation started and failed, or was cancelled |
| 130 | stopped by Ctrl-C; an operation that was watched goes on |

[Each error](errors.md) has its exit code and a hint. \`howdah psql\` ends with the exit code of
psql. The variables that the command line reads are on [the page about
configuration](config.md#the-command-line).
`

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

function isShown(option: Option): boolean {
  return !option.hidden && option.long !== '--help'
}

function says(option: Option | Argument): string {
  const choices = option.argChoices === undefined ? '' : ` (${option.argChoices.join(', ')})`
  const fallback = typeof option.defaultValue === 'string' ? `; default ${option.defaultValue}` : ''
  return cell(`${option.description}${choices}${fallback}`)
}

function optionTable(options: readonly Option[]): string {
  const rows = options.filter(isShown).map((option) => `| \`${option.flags}\` | ${says(option)} |`)
  return rows.length === 0 ? '' : `\n| option | |\n|---|---|\n${rows.join('\n')}\n`
}

function argumentTable(command: Command): string {
  const told = command.registeredArguments.filter((argument) => argument.description !== '')
  const rows = told.map((argument) => `| \`${argument.name()}\` | ${says(argument)} |`)
  return rows.length === 0 ? '' : `\n| argument | |\n|---|---|\n${rows.join('\n')}\n`
}

function usage(command: Command, path: string): string {
  const names = command.registeredArguments.map((argument) => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name()
    return argument.required ? `<${name}>` : `[${name}]`
  })
  const options = command.options.some(isShown) ? ['[options]'] : []
  return [path, ...options, ...names].join(' ')
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

function section(command: Command, path: string): string {
  const verbs = command.commands.map((verb) => section(verb, `${path} ${verb.name()}`)).join('')
  // One that does something itself, too, has arguments: `restore` beside `restore undo`.
  if (command.commands.length > 0 && command.registeredArguments.length === 0) return verbs
  const head = `\n### ${path.replace('howdah ', '')}\n\n    ${usage(command, path)}\n\n`
  const tables = argumentTable(command) + optionTable(command.options)
  return `${head}${sentence(command.description())}\n${tables}${verbs}`
}

export async function renderCliPage(): Promise<string> {
  const program = await makeWholeProgram(process)
  const groups = Map.groupBy(program.commands, (command) => command.helpGroup() ?? '')
  const parts = [...groups].map(
    ([group, commands]) =>
      `\n## ${group.replace(/:$/, '')}\n` +
      commands.map((command) => section(command, `howdah ${command.name()}`)).join(''),
  )
  const global = `## Options of every command\n${optionTable(program.options)}`
  return HEAD + global + parts.join('') + EXIT_CODES
}
