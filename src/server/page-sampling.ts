/** Shared with the page, whose sliders rest here. How its answers are drawn where a conversation sets nothing: bold enough to vary, the unlikely left out. */
export const PAGE_SAMPLING = { temperature: 0.7, topP: 0.9 } as const
