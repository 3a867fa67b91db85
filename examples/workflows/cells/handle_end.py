# A later cell polls it (chapter.done()), cancels it (chapter.cancel()), or awaits it.
print("handle:", (await chapter).answer)
