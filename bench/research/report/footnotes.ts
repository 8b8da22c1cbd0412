/** Remarks to single cells of a table, numbered in the order in which they are first needed. */
export class Footnotes {
  readonly #texts: string[] = []

  /** The mark to put behind a figure. The same remark keeps its number. */
  mark(text: string): string {
    if (!this.#texts.includes(text)) this.#texts.push(text)
    return `<sup>${this.#texts.indexOf(text) + 1}</sup>`
  }

  /** To go below the table; empty when nothing was remarked. */
  toString(): string {
    return this.#texts.map((text, i) => `<sup>${i + 1}</sup> ${text}`).join('<br>\n')
  }
}
