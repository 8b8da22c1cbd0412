import { writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { Command } from 'commander'
import { ConfigError } from '../../config/diagnostic.ts'
import { parseConfig } from '../../config/parseConfig.ts'
import { type Answers, firstFile } from '../firstFile.ts'
import { plain, type Streams } from '../terminal.ts'

interface InitOptions {
  readonly output: string
  readonly force?: true
  readonly service?: readonly string[]
  readonly authkeyPath: string
  readonly tag?: readonly string[]
  readonly controlUrl: string
  readonly plaintext?: true
}

const collected = (value: string, before: readonly string[] = []): readonly string[] => [...before, value]

/** `tsnsrv-sup init`: writes a first configuration, from flags or, on a terminal, from answers. */
export function initCommand(streams: Streams): Command {
  return new Command('init')
    .description('Write a first configuration with comments; on a terminal, ask for what goes into it.')
    .option('-o, --output <file>', 'where to write it; - for standard output', 'services.yaml')
    .option('--force', 'replace the file if there is one')
    .option('-s, --service <name=upstream>', 'a service, as often as there are services', collected)
    .option('--authkey-path <file>', 'file with an auth key or OAuth client secret', '')
    .option('--tag <tag>', 'a tag of all nodes; again for more', collected)
    .option('--control-url <url>', "control server, if it is not Tailscale's", '')
    .option('--plaintext', 'serve http on port 80 instead of https')
    .addHelpText(
      'after',
      `
Without --service it asks, if there is a terminal.

Examples:
  $ tsnsrv-sup init
  $ tsnsrv-sup init --service photos=http://127.0.0.1:2342 --service wiki=http://127.0.0.1:8080 --authkey-path /etc/tsnsrv-sup/authkey`,
    )
    .action(async (options: InitOptions, command: Command) => {
      const given = fromFlags(options, command)
      if (given.services.length === 0 && streams.stdin?.isTTY !== true) {
        command.error('error: there is no terminal to ask: name the services, as in --service photos=http://127.0.0.1:2342', {
          exitCode: 2,
        })
      }
      const answers = given.services.length > 0 ? given : await ask(given, streams)
      const text = firstFile(answers)
      // Throws with all that is wrong, and nothing is written.
      parseConfig(text, options.output, {})
      if (options.output === '-') streams.stdout.write(text)
      else await save(options, text, streams)
    })
}

function fromFlags(options: InitOptions, command: Command): Answers {
  const { service = [], tag = [], authkeyPath, controlUrl, plaintext = false } = options
  const services = service.map((pair) => {
    const cut = pair.indexOf('=')
    if (cut < 1)
      command.error(`error: --service ${plain(pair)}: want name=upstream, as in photos=http://127.0.0.1:2342`, { exitCode: 2 })
    return { name: pair.slice(0, cut), upstream: pair.slice(cut + 1) }
  })
  return { services, authkeyPath, tags: tag, controlURL: controlUrl, plaintext }
}

async function save({ output, force }: InitOptions, text: string, { stdout }: Streams): Promise<void> {
  try {
    // Readable for a supervisor that runs as another user: there are no secrets in it.
    await writeFile(output, text, { flag: force ? 'w' : 'wx', mode: 0o644 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new Error(`${output} is there already: name another file with --output, or replace it with --force`, { cause: error })
  }
  stdout.write(`Written: ${output}. Next:\n  tsnsrv-sup validate ${output}\n  tsnsrv-sup start --config ${output}\n`)
}

/** Asks for what the flags leave open. An answer that the configuration would refuse is asked for again. */
async function ask(given: Answers, { stdin, stdout }: Streams): Promise<Answers> {
  if (!stdin) throw new Error('there is nobody to ask')
  const terminal = createInterface({ input: stdin, output: stdout })
  const question = async (text: string, taken: (answer: string) => Answers): Promise<string> => {
    for (;;) {
      const answer = (await terminal.question(text)).trim()
      const problem = problemOf(taken(answer))
      if (problem === '') return answer
      stdout.write(`  ${problem}\n`)
    }
  }
  try {
    const services: { name: string; upstream: string }[] = []
    const sample = { name: 'x', upstream: 'http://127.0.0.1:1' }
    for (;;) {
      const text = services.length === 0 ? 'Name of a service on the tailnet: ' : 'Name of the next service (empty: no more): '
      const isLast = (name: string) => name === '' && services.length > 0
      const name = await question(text, (answer) => ({
        ...given,
        services: isLast(answer) ? services : [...services, { ...sample, name: answer }],
      }))
      if (isLast(name)) break
      const upstream = await question(`URL where ${name} runs, as in http://127.0.0.1:8080: `, (answer) => ({
        ...given,
        services: [{ name, upstream: answer }],
      }))
      services.push({ name, upstream })
    }
    const authkeyPath =
      given.authkeyPath ||
      (await question('File with an auth key or OAuth client secret (empty: log in by URL): ', (answer) => ({
        ...given,
        services,
        authkeyPath: answer,
      })))
    const controlURL =
      given.controlURL ||
      (await question("URL of your control server (empty: Tailscale's): ", (answer) => ({
        ...given,
        services,
        controlURL: answer,
      })))
    return { ...given, services, authkeyPath, controlURL }
  } finally {
    terminal.close()
  }
}

/** What the configuration would be refused for, in a line; empty when for nothing. */
function problemOf(answers: Answers): string {
  try {
    parseConfig(firstFile(answers), '', {})
    return ''
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const [first] = error.diagnostics
    return plain([first?.message, first?.hint].filter(Boolean).join('; '))
  }
}
