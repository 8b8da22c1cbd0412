/** http and https URLs that the parsers of both sides, ours and Go's, read in the same way. */

/** Letters of any language, as in bücher.example; or an IPv6 address in brackets. Nothing that only one of the parsers takes. */
const AUTHORITY = /^https?:\/\/(?:[^/?#@]*@)?(?:[\p{L}\p{N}\p{M}._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:[/?#]|$)/iu

/** Whether a text is such a URL, with a host. It may have a user name, a path and a query. */
export function isHttpURL(url: string): boolean {
  return AUTHORITY.test(url) && !/[\s\p{Cc}\\]/u.test(url) && !/%(?![0-9a-f]{2})/i.test(url) && URL.canParse(url)
}
