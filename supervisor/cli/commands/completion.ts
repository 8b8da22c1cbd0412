import { Argument, Command } from 'commander'
import { completionScript, type Shell, shells } from '../completionScript.ts'
import type { Streams } from '../terminal.ts'

/** `tsnsrv-sup completion`: prints a script for the shell. `loadProgram` gives the program with all of its commands. */
export function completionCommand(streams: Streams, loadProgram: () => Promise<Command>): Command {
  return new Command('completion')
    .description('Print shell completion for bash, zsh or fish.')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .addHelpText(
      'after',
      `
Examples:
  $ source <(tsnsrv-sup completion bash)                                     # this shell
  $ tsnsrv-sup completion bash > ~/.local/share/bash-completion/completions/tsnsrv-sup
  $ tsnsrv-sup completion fish > ~/.config/fish/completions/tsnsrv-sup.fish`,
    )
    .action(async (shell: Shell) => {
      streams.stdout.write(completionScript(await loadProgram(), shell))
    })
}
