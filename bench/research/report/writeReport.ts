/** Puts the report into a directory. */
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Run } from '../../harness/results.ts'
import { renderReport } from './renderReport.ts'

/**
 * Writes results.json, the charts and report.md; report.md last: what it shows is there. Charts that an earlier report left
 * and this one does not have stay. Throws what the file system says.
 */
export async function writeReport(run: Run, directory: string): Promise<void> {
  const { markdown, charts } = renderReport(run)
  await writeFiles(directory, [
    ['results.json', `${JSON.stringify(run, null, 1)}\n`],
    ...charts.map(({ file, svg }) => [file, svg] as const),
    ['report.md', markdown],
  ])
}

/**
 * Writes files into a directory, which is made if it is missing: in their order, each whole or not at all. Throws what the
 * file system says; files before the one that could not be written stay.
 */
export async function writeFiles(directory: string, files: readonly (readonly [name: string, text: string])[]): Promise<void> {
  await mkdir(directory, { recursive: true })
  for (const [name, text] of files) await writeWhole(join(directory, name), text)
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.new`
  try {
    const file = await open(temporary, 'w')
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
