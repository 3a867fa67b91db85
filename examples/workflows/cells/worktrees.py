# Each sub-agent changes a copy of the repository and returns a patch, which you can read, test or discard.
import subprocess

changes = ["Write the greeting in capitals.", "Add a file with the licence."]
done = await asyncio.gather(*(rlm.run(change, isolation="worktree") for change in changes))
print("the parent's tree:", subprocess.getoutput("git status --short") or "clean")
for each in done:
    subprocess.run(["git", "apply"], input=each.patch, text=True, check=True)
print("with the patches:", subprocess.getoutput("git status --short"))
