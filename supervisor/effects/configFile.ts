/** Reads the configuration file, and looks into those that it names. Whatever is wrong with it is one ConfigError, as for its text. */
import { open } from 'node:fs/promises'
import { inWords } from '../../shared/systemErrors.ts'
import { ConfigError } from '../config/diagnostic.ts'
import { type ParsedConfig, parseConfig } from '../config/parseConfig.ts'
import { inOrder } from '../config/report.ts'
import type { Overrides } from '../config/settings.ts'
import { ambient } from './ambient.ts'
import { noteFiles } from './namedFiles.ts'

/** No configuration comes near this; what is bigger is the wrong file, and parsing it would take minutes. */
const MOST_BYTES = 16 * 1024 * 1024

export interface LoadedConfig extends Pick<ParsedConfig, 'config' | 'notes'> {
  /** The text, for showing the notes. */
  readonly text: string
}

/**
 * Reads and parses the configuration. Environment and directories are this process's unless `overrides` says otherwise.
 * Rejects with a ConfigError that says everything that is wrong.
 */
export async function loadConfig(path: string, overrides: Overrides): Promise<LoadedConfig> {
  return understandConfig(await readConfigText(path), path, overrides)
}

/** The same for a text that was read already; `path` is what messages call it. */
export async function understandConfig(text: string, path: string, overrides: Overrides): Promise<LoadedConfig> {
  const surroundings = { ...ambient(), ...overrides }
  const { config, notes, files } = parseConfig(text, path, surroundings)
  const found = await noteFiles(files, { credentialsDirectory: surroundings.env.CREDENTIALS_DIRECTORY })
  return { config, notes: inOrder([...notes, ...found]), text }
}

/** The text of the file. Rejects with a ConfigError when there is none. */
export async function readConfigText(path: string): Promise<string> {
  let bytes: Buffer
  try {
    bytes = await readLimited(path)
  } catch (error) {
    throw refused(path, ...explain(error as NodeJS.ErrnoException))
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw refused(path, 'not a text file: it is not valid UTF-8', 'save it as UTF-8, or name the right file')
  }
}

/** At most one byte more than is allowed, so that a pipe or a device cannot fill the memory. */
async function readLimited(path: string): Promise<Buffer> {
  const file = await open(path)
  try {
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of file.createReadStream({ autoClose: false, end: MOST_BYTES }) as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      size += chunk.length
    }
    if (size > MOST_BYTES) throw Object.assign(new Error('too big'), { code: 'EFBIG' })
    return Buffer.concat(chunks, size)
  } finally {
    await file.close()
  }
}

function explain(error: NodeJS.ErrnoException): [message: string, hint?: string] {
  const { code } = error
  switch (code) {
    case 'ENOENT':
      return ['no such file', 'name the configuration with --config FILE']
    case 'EISDIR':
      return ['this is a directory, not a configuration file', 'name the file in it']
    case 'EACCES':
    case 'EPERM':
      return [`no permission to read it (${code})`, 'let the user that runs tsnsrv-sup read the file and its directories']
    case 'EFBIG':
      return [`bigger than ${MOST_BYTES / 1024 / 1024} MiB: this is no configuration file`]
    default:
      return [`cannot be read: ${inWords(error)}`]
  }
}

function refused(file: string, message: string, hint?: string): ConfigError {
  return new ConfigError(
    [{ severity: 'error', file, line: 0, column: 0, length: 1, message, ...(hint !== undefined && { hint }) }],
    '',
  )
}
