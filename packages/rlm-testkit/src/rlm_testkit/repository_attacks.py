"""Repositories that a cell plants.

Each would run a program when the user calls git after the run, outside of the sandbox.

`plant` is a script that a cell runs in an empty folder in the project. `use` is what the user runs there afterwards. An
attack has succeeded if the file $MARK exists then. In both scripts, $E is a program that creates it. In `plant`,
`repository` creates a repository with a commit and a change.
"""

from __future__ import annotations

from dataclasses import dataclass

PREAMBLE = """
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_TERMINAL_PROMPT=0 EDITOR=true
repository() { git init -q ${1-.} && ( cd ${1-.} && echo 1 > f && git add f && git commit -qm f && echo 2 > f ); }
link() { rm -f "$2"; ln -s "$1" "$2"; }
"""

USE = "git status; git diff; git log -1; git add -A; git commit -qm new; git fetch"


@dataclass(frozen=True, slots=True)
class RepositoryAttack:
    """`reported`: the text about the attack that the user sees. `prepared`: commands of the user before the run."""

    name: str
    plant: str
    use: str = USE
    reported: str = ""
    prepared: str = ""


def _config(name: str, setting: str, use: str = USE, more: str = "true") -> RepositoryAttack:
    key = setting.partition(" ")[0]
    return RepositoryAttack(name, f"repository; {more}; git config {setting}", use, reported=key.lower())


_FSMONITOR = "printf '[core]\\n\\tfsmonitor = %s\\n' $E"

REPOSITORY_ATTACKS = (
    # settings that run a program
    _config("fsmonitor", "core.fsmonitor $E"),
    _config("hooks-path", "core.hooksPath h", more="mkdir h; cp $E h/pre-commit"),
    _config("alias", "alias.st '!'$E", "git st"),
    _config("diff-external", "diff.external $E"),
    _config("textconv", "diff.x.textconv $E", more="echo 'f diff=x' > .gitattributes"),
    _config("filter", "filter.x.clean $E", more="echo 'f filter=x' > .gitattributes"),
    _config("filter-process", "filter.x.process $E", more="echo 'f filter=x' > .git/info/attributes"),
    _config("merge-driver", "merge.x.driver $E", "git merge side", more="git commit -qam 2; git switch -qc side HEAD~1; echo 3 > f; git commit -qam 3; git switch -q -; echo 'f merge=x' > .git/info/attributes"),
    _config("editor", "core.editor $E", "git commit --allow-empty"),
    _config("sequence-editor", "sequence.editor $E", "git stash; git rebase -i --root"),
    _config("ssh", "core.sshCommand $E", more="git remote add origin ssh://localhost:9/x"),
    _config("askpass", "core.askPass $E", "echo url=https://localhost:9/ | git credential fill"),
    _config("credential", "credential.helper '!'$E", "echo url=https://localhost:9/ | git credential fill"),
    _config("gpg", "gpg.program $E", "git commit --allow-empty -qm x", more="git config commit.gpgSign true"),
    _config("upload-pack", "remote.origin.uploadpack $E", more="git remote add origin $PWD"),
    _config("receive-pack", "remote.origin.receivepack $E", "git push origin HEAD:x", more="git remote add origin $PWD"),
    _config("ext-remote", "protocol.ext.allow always", more="git remote add origin \"ext::$E\""),
    _config("submodule-update", "submodule.s.update '!'$E", "git submodule update", more="repository s; git -c advice.addEmbeddedRepo=false add s; printf '[submodule \"s\"]\\npath=s\\nurl=./s\\n' > .gitmodules; git config submodule.s.url ./s; git commit -qm s; git -C s commit -qam 2"),
    _config("trailer", "trailer.x.command $E", "echo | git interpret-trailers --trailer x=1"),
    _config("difftool", "difftool.x.cmd $E", "git difftool -y -t x"),
    _config("instruction-format", "rebase.instructionFormat '%s%nexec '$E", "git stash; GIT_SEQUENCE_EDITOR=true git rebase -i --root"),
    # ways to write these settings
    RepositoryAttack("one-line", 'repository; printf "[core] fsmonitor = $E\\n" >> .git/config', reported="fsmonitor"),
    RepositoryAttack("continued", "repository; printf '[core]\\nfsmonitor = \\\\\\n%s\\n' $E >> .git/config", reported="the line"),
    RepositoryAttack("upper-case", "repository; printf '[CORE]\\nFSMONITOR=%s\\n' $E >> .git/config", reported="core.fsmonitor"),
    RepositoryAttack("quoted", "repository; printf '[core]\\nfsmonitor=\"%s\"\\n' $E >> .git/config", reported="core.fsmonitor"),
    RepositoryAttack("half-quoted", "repository; printf '[core]\\nfsmonitor=\"%s\"\"\" # x\\n' $E >> .git/config", reported="the line"),
    RepositoryAttack("carriage-return", "repository; printf '[core]\\r\\nfsmonitor=%s\\r\\n' $E >> .git/config", reported="core.fsmonitor"),
    RepositoryAttack("after-a-mark", "repository; { printf '\\357\\273\\277'; cat .git/config; " + _FSMONITOR + "; } > c; mv c .git/config", reported="fsmonitor"),
    # other files that contain them, or refer to them
    RepositoryAttack("include", f"repository; {_FSMONITOR} > c; git config include.path ../c", reported="include.path"),
    RepositoryAttack("include-if", f"repository; {_FSMONITOR} > c; git config includeIf.gitdir:/.path $PWD/c", reported="includeif"),
    RepositoryAttack("config-worktree", f"repository; git config extensions.worktreeConfig true; {_FSMONITOR} > .git/config.worktree", reported="core.fsmonitor"),
    RepositoryAttack("config-of-a-worktree", f"repository; git config extensions.worktreeConfig true; git worktree add -q w; {_FSMONITOR} > .git/worktrees/w/config.worktree", f"cd w; {USE}", reported="core.fsmonitor"),
    RepositoryAttack("config-as-a-link", f"repository; {{ cat .git/config; {_FSMONITOR}; }} > c; link ../c .git/config", reported="config"),
    RepositoryAttack("common-folder", "repository; git clone -q . c; git -C c config core.fsmonitor $E; echo ../c/.git > .git/commondir", reported="c/.git"),
    RepositoryAttack("git-as-a-link", "repository r; git -C r config core.fsmonitor $E; ln -s r/.git .git", reported=".git"),
    RepositoryAttack("git-as-a-file-into-objects", "repository; repository r; git -C r config core.fsmonitor $E; mv r/.git .git/objects/g; echo gitdir: ../.git/objects/g > r/.git", f"cd r; {USE}", reported=".git"),
    RepositoryAttack("bare", "git init -q --bare b; cd b; git config core.bare false; git config core.worktree .; git config core.fsmonitor $E", "cd b; git status", reported="core.fsmonitor"),
    RepositoryAttack("bare-of-links", "git init -q --bare b; mkdir c; cp b/HEAD c; ln -s ../b/objects ../b/refs c; cd c; printf '[core]\\nrepositoryformatversion=0\\nbare=false\\nworktree=.\\n' > config; " + _FSMONITOR + " >> config", "cd c; git status", reported="core.fsmonitor"),
    RepositoryAttack("before-init", f"mkdir .git; {_FSMONITOR} > .git/config", "git init -q; git status", reported="core.fsmonitor"),
    RepositoryAttack("deep", "mkdir -p node_modules/a/b/c/d; cd node_modules/a/b/c/d; repository; git config core.fsmonitor $E", f"cd node_modules/a/b/c/d; {USE}", reported="core.fsmonitor"),
    RepositoryAttack("in-git-itself", "repository; repository .git/x; git -C .git/x config core.fsmonitor $E", f"cd .git/x; {USE}", reported="core.fsmonitor"),
    RepositoryAttack("not-to-be-changed", "repository; git config core.fsmonitor $E; chmod 500 .git", reported="core.fsmonitor"),
    # programs that git finds by name
    RepositoryAttack("hook", "repository; cp $E .git/hooks/pre-commit", reported="the hook pre-commit"),
    RepositoryAttack("hook-as-a-link", "repository; ln -s $E .git/hooks/post-index-change", reported="the hook post-index-change"),
    RepositoryAttack("hooks-as-a-link", "repository; rm -rf .git/hooks; mkdir h; cp $E h/pre-commit; ln -s ../h .git/hooks", reported="the link hooks to"),
    RepositoryAttack("hook-of-a-remote", "repository; git init -q --bare b; cp $E b/hooks/pre-receive; git remote add origin $PWD/b", "git push origin HEAD:x", reported="the hook pre-receive"),
    RepositoryAttack("hook-of-a-submodule", "repository; git clone -q . m; git init -q; mkdir -p .git/modules; mv m/.git .git/modules/m; echo gitdir: ../.git/modules/m > m/.git; cp $E .git/modules/m/hooks/pre-commit; echo 3 > m/f", f"cd m; {USE}", reported="the hook pre-commit"),
    RepositoryAttack("rebase", "repository; git commit -qam 2; GIT_SEQUENCE_EDITOR=true git rebase -q -i --root -x false; echo exec $E > .git/rebase-merge/git-rebase-todo", "git rebase --continue", reported="unfinished rebase"),
    RepositoryAttack("rebase-short", "repository; git commit -qam 2; GIT_SEQUENCE_EDITOR=true git rebase -q -i --root -x false; echo x $E > .git/rebase-merge/git-rebase-todo", "git rebase --continue", reported="unfinished rebase"),
    # files that git writes by name
    RepositoryAttack("reflog-as-a-link", "repository; link $MARK .git/logs/HEAD", reported="the link logs/HEAD to"),
    RepositoryAttack("reflog-of-a-branch-as-a-link", "repository; link $MARK .git/logs/refs/heads/$(git branch --show-current)", reported="the link logs/refs/heads/"),
    RepositoryAttack("message-as-a-link", "repository; link $MARK .git/COMMIT_EDITMSG", reported="the link COMMIT_EDITMSG to"),
    RepositoryAttack("index-as-a-link", "repository; link $MARK .git/index", "git add -A", reported="the link index to"),
    RepositoryAttack("refs-as-a-link", "repository; rm -r .git/refs/tags; ln -s $(dirname $MARK) .git/refs/tags", "git tag $(basename $MARK)", reported="the link refs/tags to"),
    RepositoryAttack("worktree-elsewhere", "repository; git mv f $(basename $MARK); git commit -qm m; git config core.worktree $(dirname $MARK)", "git checkout -f .", reported="core.worktree"),
    # through the project's own repository
    RepositoryAttack("project-reflog", "cd ..; mkdir -p .git/logs/refs/heads; link $MARK .git/logs/refs/heads/project-reflog", "cd ..; git commit -q --allow-empty -m x; git branch project-reflog", reported="the link logs/refs/heads/"),
    RepositoryAttack("project-submodule", "repository; git config core.fsmonitor $E; cd ..; git add project-submodule", "cd ..; git status", reported="core.fsmonitor"),
    RepositoryAttack("project-pointer", "repository; git config core.fsmonitor $E; mv .git ../.git/project-pointer; echo gitdir: ../.git/project-pointer > .git", reported="core.fsmonitor"),
    # content from before the run
    RepositoryAttack("config-of-an-old-one", "cd old; git config core.fsmonitor $E", f"cd old; {USE}", "core.fsmonitor", prepared="repository old"),
    RepositoryAttack("hook-of-an-old-one", "cp $E old/.git/hooks/pre-commit", f"cd old; {USE}", "pre-commit", prepared="repository old; echo exit 0 > old/.git/hooks/pre-commit; chmod +x old/.git/hooks/pre-commit"),
    RepositoryAttack("a-folder-renamed", "mv git .git; cp $E evil", reported="core.fsmonitor", prepared="repository; mv .git git; git config -f git/config core.fsmonitor ./evil"),
    RepositoryAttack("a-folder-completed", "mkdir r/refs; cp $E r/evil", "cd r; git status", "core.fsmonitor", prepared="git init -q --bare r; rm -r r/refs; printf '[core]\\nrepositoryformatversion=0\\nbare=false\\nworktree=.\\nfsmonitor=./evil\\n' > r/config"),
)  # fmt: skip
