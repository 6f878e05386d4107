export const consolePages = async (..._all: unknown[]) => {}
