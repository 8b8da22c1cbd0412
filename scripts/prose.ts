/** Reads what people read of us, documents and `--help`, and prints what is against terms.ts; exit 1 when anything is. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { runProgram } from '../supervisor/cli/program.ts'
import { proseProblems } from './proseRules.ts'

const root = join(import.meta.dirname, '..')
const problems: string[] = []
for (const name of await documents())
  problems.push(...(await proseProblems(name, await readFile(join(root, name), 'utf8'), '.md')))
for (const name of await commands())
  problems.push(...(await proseProblems(`${name} --help`, await printed(name, '--help'), '.txt')))
for (const problem of problems) console.error(problem)
process.exitCode = problems.length === 0 ? 0 : 1

async function documents(): Promise<string[]> {
  const below = async (folder: string) =>
    (await readdir(join(root, folder), { recursive: folder !== '.' })).map((name) => join(folder, name))
  return [...(await below('.')), ...(await below('docs'))].filter((name) => name.endsWith('.md')).sort()
}

async function commands(): Promise<string[]> {
  return Array.from((await printed('--help')).matchAll(/^ {2}([a-z-]+) (?:\[|<)/gm), ([, name]) => name ?? '')
}

/** What a command line prints, unbroken: a term may not hide at the end of a line. */
async function printed(...args: string[]): Promise<string> {
  const pieces: string[] = []
  const stdout = Object.assign(new PassThrough(), { columns: 10_000 })
  stdout.on('data', (piece: Buffer) => pieces.push(piece.toString()))
  await runProgram(args, { stdout, stderr: process.stderr })
  return pieces.join('')
}
