/** With a finger there is no Shift+Enter, so Enter makes lines and a button sends. */
export const entersLines = () => matchMedia('(pointer: coarse)').matches
