$ErrorActionPreference = 'Stop'
$Counts = [ordered] @{ granted = 0; 'granted before' = 0; 'settings changed' = 0; revoked = 0; failed = 0 }
$Failures = New-Object System.Collections.Generic.List[string]
$PrincipalIsNew = $false
$Patience = 12

function Invoke-Change([string] $What, [scriptblock] $Action) {
    if ($Check) {
        Write-Host "would: $What"
        return
    }
    Write-Host $What
    & $Action | Out-Null
}

function Add-Failure([string] $Mailbox, [string] $Why) {
    $Counts['failed']++
    $Failures.Add("${Mailbox}: $Why")
    Write-Host "FAILED ${Mailbox}: $Why"
}

# Finds the application in Exchange by its client id; its display name does not matter.
function Find-Principal {
    $found = $null
    try {
        $found = Get-ServicePrincipal -Identity $AppId -ErrorAction Stop
    } catch {
        $found = $null
    }
    if (-not $found) {
        $found = Get-ServicePrincipal
    }
    $found | Where-Object { [string] $_.AppId -eq $AppId } | Select-Object -First 1
}

# The names under which Exchange may list the application as holder of a permission.
function Get-PrincipalNames($Found) {
    $names = @($ObjectId, $AppId)
    foreach ($property in 'Sid', 'Guid', 'Name', 'Id', 'Identity', 'DistinguishedName') {
        $names += [string] $Found.$property
    }
    $names | Where-Object { $_ } | Select-Object -Unique
}

function Get-Grant([string] $Mailbox) {
    Get-MailboxPermission -Identity $Mailbox -ResultSize Unlimited | Where-Object {
        ([string] $_.Deny -ne 'True') -and ([string] $_.IsInherited -ne 'True') -and
        ([string] $_.AccessRights -match 'FullAccess') -and ($PrincipalNames -contains [string] $_.User)
    }
}

# A principal that was made a moment ago is not known everywhere at once.
function Add-Grant([string] $Mailbox) {
    while ($true) {
        try {
            Add-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess -Confirm:$false -WarningAction SilentlyContinue
            $script:PrincipalIsNew = $false
            return
        } catch {
            if ((-not $script:PrincipalIsNew) -or ($script:Patience -le 0)) {
                throw
            }
            $script:Patience--
            Write-Host 'waiting for Exchange to know the service principal'
            Start-Sleep -Seconds 10
        }
    }
}

function Set-OneMailbox([string] $Mailbox) {
    if (@(Get-Grant $Mailbox).Count -gt 0) {
        $Counts['granted before']++
        if ($OnlyMissing) {
            return
        }
    } else {
        Invoke-Change "${Mailbox}: grant FullAccess" { Add-Grant $Mailbox }
        $Counts['granted']++
    }
    $found = Get-CASMailbox -Identity $Mailbox
    $change = @{}
    foreach ($protocol in $Protocols) {
        if ([string] $found."${protocol}Enabled" -ne 'True') {
            $change["${protocol}Enabled"] = $true
        }
        $suppressed = ([string] $found."${protocol}SuppressReadReceipt" -eq 'True') -and
            ([string] $found."${protocol}UseProtocolDefaults" -ne 'True')
        if ($SuppressReadReceipts -and (-not $suppressed)) {
            $change["${protocol}UseProtocolDefaults"] = $false
            $change["${protocol}SuppressReadReceipt"] = $true
        }
    }
    if ($change.Count -gt 0) {
        $words = ($change.Keys | Sort-Object | ForEach-Object { "$_=$($change[$_])" }) -join ' '
        Invoke-Change "${Mailbox}: set $words" { Set-CASMailbox -Identity $Mailbox -Confirm:$false @change }
        $Counts['settings changed']++
    }
}

function Remove-Grant([string] $Mailbox) {
    if (@(Get-Grant $Mailbox).Count -gt 0) {
        Invoke-Change "${Mailbox}: revoke FullAccess" {
            Remove-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess -Confirm:$false
        }
        $Counts['revoked']++
    }
}

# Looks at every mailbox of the tenant: Exchange cannot list the grants of one holder.
function Remove-OtherGrants {
    $wanted = @{}
    foreach ($mailbox in $Mailboxes) {
        $wanted[$mailbox.ToLowerInvariant()] = $true
    }
    Get-EXOMailbox -ResultSize Unlimited | ForEach-Object {
        $addresses = @([string] $_.UserPrincipalName, [string] $_.PrimarySmtpAddress)
        $addresses += $_.EmailAddresses | ForEach-Object { ([string] $_) -replace '^smtp:', '' }
        $configured = $addresses | Where-Object { $_ -and $wanted.ContainsKey($_.ToLowerInvariant()) }
        if (-not $configured) {
            $mailbox = [string] $_.PrimarySmtpAddress
            try {
                Remove-Grant $mailbox
            } catch {
                Add-Failure $mailbox $_.Exception.Message
            }
        }
    }
}

# ---- the way in

if (-not $AppId) {
    throw 'fill in $AppId at the top of this script: the application (client) ID, from the Overview of the app registration'
}
if (-not (Get-Command Connect-ExchangeOnline -ErrorAction SilentlyContinue)) {
    throw 'the module is missing: Install-Module ExchangeOnlineManagement -Scope CurrentUser'
}
function Get-OpenConnection {
    Get-ConnectionInformation |
        Where-Object { ($_.State -eq 'Connected') -and ([string] $_.IsEopSession -ne 'True') } |
        Select-Object -First 1
}
$Connection = Get-OpenConnection
if (-not $Connection) {
    Connect-ExchangeOnline -ExchangeEnvironmentName $Environment -ShowBanner:$false
    $Connection = Get-OpenConnection
}
$Domains = @(Get-AcceptedDomain | ForEach-Object { [string] $_.DomainName })
if (([string] $Connection.TenantID -ne $Tenant) -and ($Domains -notcontains $Tenant)) {
    throw "connected to another tenant than $Tenant; Disconnect-ExchangeOnline, and run this again"
}

# ---- the service principal

$Principal = Find-Principal
$ToBeMade = $false
if ($Undo) {
    if (-not $Principal) {
        Write-Host 'Exchange does not know this application: there is nothing to undo'
        return
    }
    $ObjectId = [string] $Principal.ObjectId
} elseif ($Principal -and (-not $ObjectId)) {
    $ObjectId = [string] $Principal.ObjectId
    Write-Warning "the object id was not given, so $ObjectId is not checked; it has to be the oid of the application's tokens"
} elseif (-not $ObjectId) {
    throw 'fill in $ObjectId at the top of this script: the Object ID on the page Enterprise applications (not on App registrations)'
} elseif (-not $Principal) {
    $ToBeMade = $true
} elseif ([string] $Principal.ObjectId -ne $ObjectId) {
    Invoke-Change "remove the service principal with the wrong object id $($Principal.ObjectId)" {
        Remove-ServicePrincipal -Identity ([string] $Principal.ObjectId) -Confirm:$false
    }
    $Principal = $null
    $ToBeMade = $true
} else {
    Write-Host "the service principal is right: $ObjectId"
}
if ($ToBeMade) {
    Invoke-Change "register the service principal $ObjectId" {
        New-ServicePrincipal -AppId $AppId -ObjectId $ObjectId -DisplayName $DisplayName
    }
    if (-not $Check) {
        $PrincipalIsNew = $true
        $Principal = Find-Principal
    }
}
$PrincipalNames = @()
if (-not ($Check -and $ToBeMade)) {
    $PrincipalNames = @(Get-PrincipalNames $Principal)
}

# ---- the mailboxes

$Number = 0
foreach ($Mailbox in $Mailboxes) {
    $Number++
    Write-Progress -Activity 'postrider' -Status "$Number of $($Mailboxes.Count)" -PercentComplete (100 * $Number / $Mailboxes.Count)
    try {
        if ($Undo) {
            Remove-Grant $Mailbox
        } else {
            Set-OneMailbox $Mailbox
        }
    } catch {
        Add-Failure $Mailbox $_.Exception.Message
    }
}
Write-Progress -Activity 'postrider' -Completed
if ($ForRemoved -and (-not $Undo)) {
    Remove-OtherGrants
}
if ($Undo -and ($Failures.Count -eq 0)) {
    Invoke-Change "remove the service principal $ObjectId" {
        Remove-ServicePrincipal -Identity $ObjectId -Confirm:$false
    }
}

# ---- the account

Write-Host ''
if ($Check) {
    Write-Host 'nothing was changed; what would be done is counted as done'
}
foreach ($name in $Counts.Keys) {
    Write-Host ("{0,6}  {1}" -f $Counts[$name], $name)
}
if ($Failures.Count -gt 0) {
    Write-Host ''
    foreach ($line in $Failures) {
        Write-Host "FAILED $line"
    }
    Write-Host 'run this again when the cause is removed: what is done is left alone'
    exit 1
}
