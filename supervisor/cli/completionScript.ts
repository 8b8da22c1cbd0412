/**
 * Shell completion made from commander's own tree of commands, so that it cannot fall behind. The scripts know all words by
 * themselves; only names of services are asked of the running supervisor.
 */
import type { Command, Option } from 'commander'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

interface Flag {
  /** Without dashes, or none. */
  short: string | undefined
  long: string
  description: string
  value: 'none' | 'file' | 'dir' | 'other'
}

interface Subcommand {
  name: string
  description: string
  flags: Flag[]
  /** What its argument can be: nothing, one of these words, or a service. */
  argument: 'none' | 'service' | readonly string[]
}

/** The completion script of `program` for a shell; printed for the user to source. */
export function completionScript(program: Command, shell: Shell): string {
  const commands = program.createHelp().visibleCommands(program).map(describeCommand)
  const writers: Record<Shell, (program: string, commands: readonly Subcommand[]) => string[]> = { bash, zsh, fish }
  return `${writers[shell](program.name(), commands).join('\n')}\n`
}

function describeCommand(command: Command): Subcommand {
  const [argument] = command.registeredArguments
  return {
    name: command.name(),
    description: command.description(),
    flags: command.createHelp().visibleOptions(command).map(describeOption),
    argument: argument?.argChoices ?? (argument?.name() === 'service' ? 'service' : 'none'),
  }
}

function describeOption(option: Option): Flag {
  const value = /[<[](?<value>[^<>[\]]*)[\]>]/.exec(option.flags)?.groups?.value
  return {
    short: option.short?.slice(1),
    long: option.long?.slice(2) ?? '',
    description: option.description,
    value: value === undefined ? 'none' : value === 'file' || value === 'dir' ? value : 'other',
  }
}

const servicesCall = (program: string) => `${program} services --names 2>/dev/null`
const spellings = ({ short, long }: Flag) => [...(short === undefined ? [] : [`-${short}`]), `--${long}`]
const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

function bash(program: string, commands: readonly Subcommand[]): string[] {
  const flags = commands.flatMap((command) => command.flags)
  const taking = (value: Flag['value']) => [...new Set(flags.filter((flag) => flag.value === value).flatMap(spellings))].join('|')
  const cases = commands.map(({ name, flags: own, argument }) => {
    const values = argument === 'service' ? `$(${servicesCall(program)})` : argument === 'none' ? '' : argument.join(' ')
    return `    ${name}) flags=${quote(own.flatMap(spellings).join(' '))} values="${values}" ;;`
  })
  return [
    `# bash completion of ${program}; use it with: source <(${program} completion bash)`,
    '_tsnsrv_sup() {',
    '  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} flags="" values=""',
    '  COMPREPLY=()',
    '  if (( COMP_CWORD == 1 )); then',
    `    mapfile -t COMPREPLY < <(compgen -W ${quote(commands.map(({ name }) => name).join(' '))} -- "$current")`,
    '    return',
    '  fi',
    '  case $previous in',
    `    ${taking('dir')}) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;`,
    `    ${taking('file')}) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;`,
    `    ${taking('other')}) return ;;`,
    '  esac',
    '  case ${COMP_WORDS[1]} in',
    ...cases,
    '  esac',
    '  [[ $current == -* ]] && values=$flags',
    '  mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current")',
    '}',
    `complete -F _tsnsrv_sup ${program}`,
  ]
}

function zsh(program: string, commands: readonly Subcommand[]): string[] {
  const action = { none: '', file: ':file:_files', dir: ':directory:_files -/', other: ':value:' }
  // Brackets and colons are syntax in the specifications of _arguments.
  const text = (description: string) => description.replace(/[[\]:\\]/g, '\\$&')
  const specification = (flag: Flag) => {
    const names = spellings(flag)
    const tail = quote(`[${text(flag.description)}]${action[flag.value]}`)
    return names.length === 1 ? `${names.join('')}${tail}` : `'(${names.join(' ')})'{${names.join(',')}}${tail}`
  }
  const cases = commands.map(({ name, flags, argument }) => {
    const values =
      argument === 'service'
        ? [`"1:service:($(${servicesCall(program)}))"`]
        : argument === 'none'
          ? []
          : [quote(`1:value:(${argument.join(' ')})`)]
    return [`    ${name})`, `      _arguments ${[...flags.map(specification), ...values].join(' \\\n        ')} ;;`].join('\n')
  })
  return [
    `#compdef ${program}`,
    `# zsh completion of ${program}; use it with: source <(${program} completion zsh)`,
    '_tsnsrv_sup() {',
    '  local -a commands=(',
    ...commands.map(({ name, description }) => `    ${quote(`${name}:${text(description)}`)}`),
    '  )',
    '  if (( CURRENT == 2 )); then',
    "    _describe 'command' commands",
    '    return',
    '  fi',
    '  shift words',
    '  (( CURRENT-- ))',
    '  case $words[1] in',
    ...cases,
    '  esac',
    '}',
    `compdef _tsnsrv_sup ${program}`,
  ]
}

function fish(program: string, commands: readonly Subcommand[]): string[] {
  const complete = `complete -c ${program}`
  const quoted = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`
  const takes = { none: '', file: ' -r -F', dir: " -x -a '(__fish_complete_directories)'", other: ' -x' }
  const lines = commands.flatMap(({ name, description, flags, argument }) => {
    const within = `${complete} -n '__fish_seen_subcommand_from ${name}'`
    const values = argument === 'service' ? `(${servicesCall(program)})` : argument === 'none' ? undefined : argument.join(' ')
    return [
      `${complete} -n __fish_use_subcommand -a ${name} -d ${quoted(description)}`,
      ...flags.map((flag) => {
        const short = flag.short === undefined ? '' : ` -s ${flag.short}`
        return `${within}${short} -l ${flag.long}${takes[flag.value]} -d ${quoted(flag.description)}`
      }),
      ...(values === undefined ? [] : [`${within} -a ${quoted(values)}`]),
    ]
  })
  return [`# fish completion of ${program}; use it with: ${program} completion fish | source`, `${complete} -f`, ...lines]
}
