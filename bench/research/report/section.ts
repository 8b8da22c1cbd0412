/** Pieces of the report: Markdown blocks, and the charts that they show. */
import { markdownTable } from 'markdown-table'

export interface Chart {
  /** Name of the file beside report.md. */
  file: string
  /** What it shows, for those who cannot see it. */
  alt: string
  svg: string
}

export interface Section {
  title: string
  /** Paragraphs, tables and lists; empty ones are left out. */
  blocks: string[]
  charts: Chart[]
}

/** First column to the left, all others to the right. A pipe in a cell would end the cell, a line break the table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ')))
  return markdownTable(cells, { align: head.map((_, i) => (i === 0 ? 'l' : 'r')) })
}

export function image({ alt, file }: Chart): string {
  return `![${alt}](${file})`
}

/** The whole section; "" when it has nothing to say. */
export function renderSection({ title, blocks }: Section): string {
  const told = blocks.filter((block) => block !== '')
  return told.length === 0 ? '' : [`## ${title}`, ...told].join('\n\n')
}
