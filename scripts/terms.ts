/** One word or turn of phrase that our texts avoid, and what they say instead. */
interface Term {
  readonly avoid: RegExp
  readonly use: string
}

/**
 * The project's terms, as docs/glossary.md explains them, and the turns of phrase that made our texts hard to read. `npm run check`
 * holds documents and `--help` to them. Code (`like this`) and quotations are not looked at.
 */
export const terms: readonly Term[] = [
  { avoid: /\btime-outs?\b/i, use: 'timeout' },
  { avoid: /\bper cent\b/i, use: 'percent, or %' },
  { avoid: /\bfor ever\b/i, use: 'forever' },
  { avoid: /\bserv(?:e|es|ed|ing) on\b(?! (?:a|the|port|https?|loopback)\b)/i, use: 'keep serving' },
  { avoid: /\bcom(?:e|es|ing) to the same\b/i, use: 'has the same effect' },
  { avoid: /\bgo(?:es)? on (?:as|where|without|with|in)\b/i, use: 'continue' },
  { avoid: /\banew\b/i, use: 'again' },
  { avoid: /\bof late\b/i, use: 'recently' },
  { avoid: /\bin spite of\b/i, use: 'despite' },
  { avoid: /\blet by\b/i, use: 'let through' },
  { avoid: /\b(?:am|is|are|was|were) to be\b(?! (?:seen|expected)\b)/i, use: 'a plain verb: "must", "should", "will"' },
  { avoid: /\bshall\b/i, use: 'must, should or will' },
  { avoid: /\bmay not use this\b/i, use: 'access denied' },
  { avoid: /\bhalts?\b/i, use: 'stop' },
  { avoid: /\bended (?:its|their|his) workers?\b/i, use: 'crashed its worker' },
  { avoid: /\bends? (?:its|their|nobody else's?) workers?\b/i, use: 'crash its worker' },
  { avoid: /\borders? (?:of|by) (?:an|the) operator\b|\boperator's orders?\b/i, use: 'command' },
  { avoid: /\b(?:only|until) orders\b|\borders like\b/i, use: 'commands' },
  { avoid: /\btold to who\b/i, use: 'name the audience' },
  { avoid: /\bmasters?\b|\bslaves?\b/i, use: 'supervisor, worker' },
  { avoid: /\bblack-?list|\bwhite-?list/i, use: 'deny list, allow list' },
]

/** How a sentence may not begin: its subject comes late, or is a riddle. */
export const openings: readonly Term[] = [
  { avoid: /^(?:Who|Whoever)\b(?!.*\?$)/, use: 'name the person or the process' },
  { avoid: /^Of (?!course\b)/, use: 'the subject first' },
  { avoid: /^(?:Nor|Neither|Hence|Thereby|Whereas)\b/, use: 'the subject first' },
  { avoid: /^(?:Only|Not until) (?:when|then|after)\b/, use: 'the subject first' },
  { avoid: /^So (?:is|are|does|do|has|have|was|were)\b/, use: 'the subject first' },
]

/** More words than this in one sentence are more than one thought. */
export const MOST_WORDS = 45
