/** Tells whoever waits what is going on, in a line. */
export type Say = (line: string) => void
